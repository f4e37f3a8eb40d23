"""The data workshop: what is wrong with data, and better data made of it."""

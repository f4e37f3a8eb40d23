"""Chinese characters that look alike, for mistakes of the eye: of a hand, of optical character recognition."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

# Each group: characters taken for each other. A character may be in several.
_GROUPS = """
己已巳 未末 人入八 土士 日曰 戊戌戍戎 大太犬 天夭 干千于 王玉主 田由甲申 木本 午牛 刀力 刁习 九丸
几凡 今令 住往 侯候 免兔 兵乒乓 准淮 冶治 券卷 历厉 卯卵 厂广 又叉 叨叼 吕昌 哀衰衷 喝渴竭歇谒
困因囚 坚竖 坏环怀 埋理 墓幕慕暮 壁璧 夫失 季李 孤弧狐 官宫 宣宜 密蜜 尸户 屈届 崇祟 巨臣 帅师 徒徙
微徽 待侍 惟唯 慢漫 戴载裁栽 扰拢 抡抢 拔拨 折析拆 挑桃 推堆 掉悼 捎稍 辩辨辫 斤斥 旦且 旱早 晴睛
暑署 曝瀑爆 板扳 杆秆 栗粟 槁稿 殴欧 氐氏 杨扬场 汩汨 沮阻 沾粘 洒酒 洗冼 浇饶绕 涣换焕 炙灸 炮泡抱
烧晓 熊能 爪瓜 狠狼 瑞端 直真 矛予 矢失 祖租组 科料 秃秀 稼嫁 竞竟 籍藉 素索 级极 线钱浅 绩积 羸赢
肓盲 肆肄 胃胄 脑恼 腊蜡 茶荼 萧箫 蓝篮 薄簿 虑虚 要耍 观现 贪贫 货贷 赂路 辛幸 近进 逐遂 遗遣
那哪 部陪 钓钩钧 阴阳 陷馅 霄宵 鸟乌 鸣呜 买卖 亨享 仓仑 代伐 休体 低底 便使 俭检捡 倒到 博搏傅
像象 儿几 元无 凤风 刺剌 办为 叮盯钉 史吏 味昧 埂梗 块快 娱误 婉惋 字宇 寒赛 峰锋蜂 州洲 帐账 幻幼
延廷 弋戈 弛驰 怕拍 性姓 恨很 悔侮 愉偷榆 戒戎 摸模 操澡燥躁 村材 枪抢 棵颗 楼搂 此比 毛手 汽气
地池他 消销 清请情晴 炼练 目自 眠眼 第弟 续读 胀涨 般船 被披 诀决 诚城 设没 贝见 赔培 迟尺 错借
问间闻
"""


@cache
def alike() -> Mapping[str, str]:
    """Return for each character the others of its groups."""
    found: dict[str, str] = {}
    for group in _GROUPS.split():
        for sign in group:
            found[sign] = found.get(sign, "") + "".join(other for other in group if other not in found.get(sign, sign))
    return {sign: others.replace(sign, "") for sign, others in found.items()}

"""How Chinese-speaking sellers and searchers write on a second-hand marketplace."""

from tools.marketplace import catalogue_zh_living, catalogue_zh_technology
from tools.marketplace.language import Language

_HOMOPHONES = dict(zip(
    "果机鞋椅灯裙车床包表琴票盘键鼠锅杯帽裤衣架壳新苹耐索迪米星宜",
    "裹几协倚登群扯窗胞标情飘盆健属过贝冒库一加可心平奈锁的迷兴易"))


def _surfaces(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(value.strip().split("|")) for value in text.split(","))


def mistype(text: str, where: float, which: float) -> str:
    """Writes a homophone, or swaps or drops a character."""
    places = [i for i, char in enumerate(text) if char in _HOMOPHONES]
    if places and which < 0.7:
        i = places[int(where * len(places))]
        return text[:i] + _HOMOPHONES[text[i]] + text[i + 1:]
    places = [i for i in range(1, len(text) - 1) if text[i] > "\u3400" and text[i + 1] > "\u3400"]
    if not places:
        return text
    i = places[int(where * len(places))]
    if which < 0.85:
        return text[:i] + text[i + 1] + text[i] + text[i + 2:]
    return text[:i] + text[i + 1:]


def join_query(parts: list[str], u: float) -> str:
    """Half of the searchers put spaces between words."""
    return (" " if u < 0.5 else "").join(parts)


_ATTRIBUTES = {
    "storage": ("内存容量", "128G|128g|128gb, 256G|256g|256gb, 64G|64g|64gb, 512G|512g|512gb, "
                "1T|1tb, 32G|32g"),
    "colour": ("颜色", "黑色|纯黑|黑, 白色|白|象牙白, 灰色|灰|深空灰, 蓝色|蓝|藏青, 银色|银, 红色|酒红, "
               "绿色|墨绿|军绿, 粉色|粉|粉红, 棕色|咖色|咖啡色, 米色|杏色|奶白"),
    "connection": ("连接方式", "蓝牙版|无线版, 有线版|带线, usb接口|type-c口, 光纤口|hdmi接口, 卡农口|大三芯"),
    "condition": ("成色", "九成新|9成新|9新, 全新|全新未拆|未拆封, 八成新|8成新, 战损|有磕碰, 99新|准新"),
    "accessories": ("配件", "带充电器|充电器齐, 箱说全|盒子说明书都在, 单机身|裸机, 送电池|双电池, 送包|带相机包"),
    "release": ("年份版本", "24款|2024款, 23款|2023款, 22款|2022款, 老款|旧款, 21款|2021款"),
    "memory": ("运行内存", "16G内存|16g运存, 8G内存|8g运存, 32G内存|32g运存, 64G内存|64g运存"),
    "region": ("版本", "国行|大陆版, 港版|香港版, 日版|日本版, 美版|美国版, 欧版|欧洲版"),
    "litres": ("容量", "1升|1l, 2升|2l, 3升|3l, 5升|5l, 大容量|家庭装, 小型|迷你款"),
    "capacity": ("规格", "10公斤|10kg, 8公斤|8kg, 200升|200l, 400升|400l, 大一匹|1匹, 1.5匹|1匹半"),
    "energy": ("能效", "一级能效|新一级, 二级能效|2级能效, 三级能效|3级能效, 变频|节能省电"),
    "power": ("功率", "500w|500瓦, 1000w|1000瓦, 1500w|1500瓦, 2000w|2000瓦, 20v锂电|锂电池款"),
    "voltage": ("供电", "充电款|usb充电, 插电款|220v, 干电池款|用电池, 便携款|旅行装"),
    "material": ("材质", "实木|橡木, 真皮|头层牛皮, 科技布|免洗布, 棉麻|布艺, 岩板|大理石, 玻璃|钢化玻璃, "
                 "铁艺|不锈钢, 松木|原木"),
    "bed_size": ("尺寸", "1.8米|180x200, 1.5米|150x200, 1.2米|120x200, 2米|200x220, 0.9米|宿舍款"),
    "ware": ("材质", "陶瓷|骨瓷, 不锈钢|304钢, 玻璃|水晶, 铸铁|生铁, 木质|竹木, 羊毛|手工编织"),
    "size": ("尺码", "M码|m, L码|l, S码|s, XL码|xl|加大, XS码|xs|小个子, 均码|不限码"),
    "shoe_size": ("鞋码", "42码|42, 38码|38, 40码|40, 44码|44, 36码|36, 39码|39, 43码|43"),
    "make": ("材质", "真皮|牛皮, 帆布|尼龙, 足金|黄金, 925银|纯银, 精钢|不锈钢, 真丝|羊绒"),
    "age": ("适用年龄", "0-6个月|新生儿, 6-12个月|半岁, 2岁|2周岁, 4岁|幼儿园, 6岁|一年级, 8岁|小学生, 10岁|大童"),
    "set": ("件数", "单个|一个, 一对|两个|2件套, 4件套|四件, 6件套|六件, 全套|整套, 打包|一堆打包出"),
    "frame": ("车架", "26寸|26英寸, 28寸|700c, 中码车架|m架, 大码车架|l架, 碳纤维|全碳, 铝合金|铝架"),
    "weight": ("重量", "2公斤|2kg, 5公斤|5kg, 10公斤|10kg|20斤, 20公斤|20kg|40斤, 超轻|轻量化, 加厚|加重"),
    "length": ("长度", "160cm|160, 170cm|170, 180cm|180, 150cm|150, 成人款|大人用, 青少年款|儿童用"),
    "level": ("级别", "入门|新手, 进阶|中级, 专业|专业级, 考级|学生用"),
    "format": ("装帧", "平装|简装, 精装|硬壳, 盒装|全集, 口袋本|小开本"),
    "language": ("语种", "中文|简体, 繁体|港台版, 英文原版|英文版, 日文原版|日文版, 双语|中英对照"),
    "screen": ("屏幕尺寸", "27寸|27英寸, 32寸|32英寸, 43寸|43英寸, 55寸|55英寸, 65寸|65英寸"),
    "load": ("洗涤容量", "10公斤|10kg, 8公斤|8kg, 12公斤|12kg, 7公斤|7kg, 3公斤|迷你款"),
    "cook": ("材质", "铸铁|生铁, 不锈钢|304钢, 不粘|麦饭石涂层, 珐琅|搪瓷, 钛|纯钛"),
    "light": ("光源", "暖光|暖黄光, 白光|正白光, 三色变光|三色, 可调光|遥控调光, 护眼|全光谱"),
    "fabric": ("材质", "真皮|头层牛皮, 科技布|免洗布, 棉麻|布艺, 灯芯绒|绒布, 羊羔绒|泰迪绒, 藤编|编织"),
    "value": ("面值", "100元|一百面值, 200元|两百面值, 500元|五百面值, 50元|五十面值, 1000元|一千面值"),
}

CHINESE = Language(
    code="zh",
    trees=(catalogue_zh_technology.TREE, catalogue_zh_living.TREE),
    space="",
    title_joins=("", "", " "),
    attributes={key: (label, _surfaces(text)) for key, (label, text) in _ATTRIBUTES.items()},
    form_labels=("品牌", "型号"),
    brand_aliases={
        "苹果": ("apple",), "华为": ("huawei", "菊花"), "小米": ("mi",), "三星": ("samsung",),
        "索尼": ("sony",), "佳能": ("canon",), "尼康": ("nikon",), "富士": ("fujifilm", "fuji"),
        "任天堂": ("nintendo", "老任"), "微软": ("microsoft",), "耐克": ("nike",), "大疆": ("dji",),
        "阿迪达斯": ("adidas", "阿迪"), "路易威登": ("lv", "驴牌"), "古驰": ("gucci",),
        "香奈儿": ("chanel",), "优衣库": ("uniqlo",), "飒拉": ("zara",), "宜家": ("ikea",),
        "无印良品": ("muji",), "戴森": ("dyson",), "飞利浦": ("philips",), "松下": ("panasonic",),
        "博世": ("bosch",), "西门子": ("siemens",), "雅马哈": ("yamaha",), "乐高": ("lego",),
        "泡泡玛特": ("popmart",), "联想": ("lenovo",), "戴尔": ("dell",), "华硕": ("asus",),
        "惠普": ("hp",), "罗技": ("logitech",), "雷蛇": ("razer",), "劳力士": ("rolex",),
        "始祖鸟": ("arcteryx", "鸟家"), "北面": ("tnf", "北脸"), "露露乐蒙": ("lululemon",),
        "周杰伦": ("jay", "周董"), "迪士尼": ("disney",), "万代": ("bandai",), "捷安特": ("giant",),
        "禧玛诺": ("shimano",), "迪卡侬": ("decathlon",), "勃肯": ("birkenstock",),
        "卡骆驰": ("crocs",), "马丁博士": ("dr martens",), "双立人": ("zwilling",),
        "膳魔师": ("thermos",), "星巴克": ("starbucks",), "格力": ("gree",), "海尔": ("haier",),
    },
    names=tuple((
        "云杉 白桦 晨曦 暮光 星辰 山海 清风 明月 春风 夏至 秋水 冬雪 竹影 松间 青山 绿野 海棠 牡丹 茉莉 蔷薇 "
        "薄荷 柠檬 樱花 枫叶 银杏 梧桐 丁香 百合 芙蓉 紫藤 江南 西湖 敦煌 长安 洛阳 苏州 大理 丽江 漠河 三亚 "
        "东京 大阪 京都 巴黎 米兰 罗马 伦敦 柏林 里昂 北欧 摩登 复古 极简 轻奢 侘寂 日式 法式 美式 波西米亚 学院 "
        "月光 星空 银河 流云 彩虹 极光 琥珀 翡翠 珊瑚 珍珠 墨玉 水晶 小鹿 白鲸 雪狐 飞鸟 锦鲤 青鸾 麋鹿 蝴蝶"
    ).split()),
    suffixes=("", "Pro", "Plus", "青春版", "Max", "mini", "Ultra", "经典款"),
    designators={"volume": "第{n}册", "year": "{n}年"},
    openers=tuple("出 转 闲置 自用 个人闲置 出一个 低价转 急出 搬家出 全新闲置 回血出 清仓 便宜出 正品".split()),
    conditions=tuple(
        "九成新 几乎全新 全新未拆 用过两次 成色好 有使用痕迹 功能完好 无磕碰 包邮 可小刀 可自提 不退不换 带发票 95新".split()),
    reasons=tuple(
        "去年买的，没怎么用 买来用了几次，一直放着 公司年会抽奖中的，用不上 搬家了带不走，便宜出 升级换新了，旧的转掉 "
        "朋友送的，我不需要 自用一年，爱护得很好 孩子大了用不到了 冲动消费，基本没用过 家里太小放不下了 "
        "功能一切正常，放心拍 有一点小划痕，不影响使用 毕业清仓，给钱就出".split(" ")),
    terms=tuple(
        "包邮，偏远地区除外 不包邮，运费自理 可自提，{place}附近 {place}可面交 喜欢的直接拍，拍下当天发货 不讲价，诚心要的来 "
        "可小刀，屠龙刀勿扰 二手物品不退不换 实物拍摄，所见即所得 有意私聊，非诚勿扰 支持验货 价格可谈".split(" ")),
    places=tuple("朝阳 海淀 浦东 徐汇 天河 南山 西湖区 武侯 江北 鼓楼".split()),
    about=tuple(
        "出一个闲置的{noun} 这款{noun}很实用 {noun}自己用的，保养得不错 正品{noun}，支持鉴定 {model}，配件齐全 "
        "型号是{model} 这是{model}，实物如图 {noun}成色如图".split(" ")),
    attribute_sentences=tuple("{label}：{value} {label}是{value} {value}的 {value}，看好再拍".split(" ")),
    sentence_end="。",
    mistype=mistype,
    join_query=join_query,
    query_extras=tuple("二手 闲置 正品 便宜 个人转让 九成新 全新".split()),
)

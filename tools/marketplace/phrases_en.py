"""How English-speaking sellers and searchers write."""

from tools.marketplace import catalogue_en_living, catalogue_en_technology
from tools.marketplace.language import Language


def _surfaces(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(value.strip().split("|")) for value in text.split(","))


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().split("\n"))


def mistype(text: str, where: float, which: float) -> str:
    """Drops, doubles or swaps one letter of a longer word (the first letter stays)."""
    words = text.split(" ")
    long_words = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not long_words:
        return text
    i = long_words[int(where * len(long_words))]
    word = words[i]
    at = 1 + int((which * 997 % 1.0) * (len(word) - 2))
    if which < 0.4:
        word = word[:at] + word[at + 1:]
    elif which < 0.6:
        word = word[:at] + word[at] + word[at:]
    else:
        word = word[:at] + word[at + 1] + word[at] + word[at + 2:]
    words[i] = word
    return " ".join(words)


_ATTRIBUTES = {
    "storage": ("storage", "128gb|128 gb|128g, 256gb|256 gb|256g, 64gb|64 gb|64g, 512gb|512 gb, "
                "1tb|1 tb|1000gb, 32gb|32 gb|32g"),
    "colour": ("colour", "black|matte black, white|ivory, grey|gray|anthracite, blue|navy, "
               "silver|metallic, red|burgundy, green|olive, pink|rose, brown|tan, beige|cream"),
    "connection": ("connection", "wireless|bluetooth, wired|with cable, usb|usb-c, "
                   "optical|hdmi, xlr|balanced"),
    "condition": ("condition", "good condition|good shape, mint|like new, well used|worn, "
                  "for parts|defective, sealed|unopened"),
    "accessories": ("accessories", "with charger|charger included, with case|incl bag, "
                    "complete kit|full kit, body only|item only, spare battery|extra battery"),
    "release": ("release", "2024 model|latest model, 2023 model|last year model, 2022 model, "
                "older model|first version, 2021 model"),
    "memory": ("memory", "16gb ram|16 gb memory, 8gb ram|8 gb memory, 32gb ram|32 gb memory, "
               "64gb ram|64 gb memory"),
    "region": ("version", "european version|eu version|pal, us version|american|ntsc, "
               "japanese version|japan import, uk version|british"),
    "litres": ("capacity", "1 litre|1l, 2 litre|2l, 3 litre|3l, 5 litre|5l, "
               "family size|large capacity, compact size|small"),
    "capacity": ("capacity", "8kg|8 kilo, 10kg|10 kilo, 200 litre|200l, 400 litre|400l, "
                 "extra wide|90cm, slim|45cm"),
    "energy": ("energy class", "class a|energy a, class b|energy b, class c|energy c, "
               "low energy|economical"),
    "power": ("power", "500w|500 watt, 1000w|1000 watt, 1500w|1500 watt, 18v|18 volt battery, "
              "2000w|2 kw"),
    "voltage": ("power supply", "mains|220v, usb rechargeable|usb charging, "
                "battery powered|aa batteries, travel size|dual voltage"),
    "material": ("material", "oak|solid oak, leather|real leather, steel|metal, fabric|cotton, "
                 "glass|tempered glass, pine|pine wood, velvet, rattan|wicker"),
    "bed_size": ("size", "160x200|160 x 200 cm|queen, 140x200|140 x 200 cm|double, "
                 "180x200|180 x 200 cm|king, 90x200|90 x 200 cm|twin"),
    "ware": ("material", "porcelain|china, stainless steel|inox, glass|crystal, cast iron|iron, "
             "wood|bamboo, wool|handwoven"),
    "size": ("size", "medium|size m|m, large|size l|l, small|size s|s, extra large|size xl|xl, "
             "extra small|size xs|xs, one size|fits all"),
    "shoe_size": ("size", "size 42|eu 42|uk 8, size 38|eu 38|uk 5, size 40|eu 40, size 44|eu 44, "
                  "size 36|eu 36, size 39|eu 39, size 45|eu 45"),
    "make": ("material", "leather|real leather, canvas|nylon, gold|18k gold, silver|925 silver, "
             "stainless steel|steel, silk|cashmere"),
    "age": ("age", "0-6 months|newborn, 6-12 months|9 months, 2 years|toddler|age 2, "
            "4 years|age 4, 6 years|age 6, 8 years|age 8, 10 years|age 10"),
    "set": ("set", "set of 4|4 pieces, set of 2|pair|2 pieces, single|one piece, "
            "set of 6|6 pieces, complete set|full set, big bundle|joblot"),
    "frame": ("frame", "medium frame|54 cm, large frame|58 cm, small frame|50 cm, "
              "26 inch wheels|26 inch, 28 inch wheels|700c, carbon frame|full carbon"),
    "weight": ("weight", "2kg|2 kilos, 5kg|5 kilos, 10kg|10 kilos, 20kg|20 kilos, "
               "ultralight|lightweight, heavy duty|robust"),
    "length": ("length", "160 cm|160cm, 170 cm|170cm, 180 cm|180cm, 150 cm|150cm, "
               "adult size|senior, junior size|kids size"),
    "level": ("level", "beginner|starter, intermediate|advanced, professional|pro level, "
              "student|learner"),
    "format": ("format", "paperback|softcover, hardcover|hardback, box set|complete series, "
               "pocket edition|small format"),
    "language": ("language", "english|in english, german|in german, french|in french, "
                 "spanish|in spanish, japanese|in japanese"),
    "screen": ("screen size", '27 inch|27", 32 inch|32", 42 inch|42", 55 inch|55", 65 inch|65"'),
    "load": ("load", "8kg|8 kilo, 7kg|7 kilo, 9kg|9 kilo, 10kg|10 kilo, 6kg|6 kilo"),
    "cook": ("material", "cast iron|iron, stainless steel|inox, non-stick|teflon, "
             "copper|copper base, ceramic coated|ceramic"),
    "light": ("light", "warm white|warm light, daylight|cold white, dimmable|with dimmer, "
              "led|low energy, colour changing|rgb"),
    "fabric": ("material", "leather|real leather, velvet|plush, linen|fabric, corduroy|cord, "
               "wool|woven, rattan|wicker"),
    "value": ("value", "50 euro|50 eur, 100 euro|100 eur, 20 euro|20 eur, 200 euro|200 eur, "
              "500 euro|500 eur"),
}

_NAMES = (
    "Oslo Bergen Malmo Turin Siena Verona Lyon Nice Calais Porto Lisbon Faro Madrid Seville "
    "Ibiza Berlin Hamburg Bremen Vienna Linz Zurich Basel Geneva Dublin Cork Galway London "
    "Oxford Kent Bristol Boston Dallas Denver Austin Miami Aspen Kyoto Osaka Sapporo Sydney "
    "Perth Luna Nova Stella Aurora Iris Flora Olivia Emma Alice Clara Sofia Oscar Hugo Felix "
    "Leo Max Bruno Willow Maple Cedar Birch Coral Pearl Amber Ruby Jade Onyx Slate Stone "
    "River Ocean Lagoon Dune Breeze Storm Cloud Harvest Meadow Forest Garden Harbour Summit "
    "Ridge Canyon Prairie Horizon Comet Orbit Zenith "
).split()

ENGLISH = Language(
    code="en",
    trees=(catalogue_en_technology.TREE, catalogue_en_living.TREE),
    space=" ",
    title_joins=(" ",),
    attributes={key: (label, _surfaces(text)) for key, (label, text) in _ATTRIBUTES.items()},
    form_labels=("brand", "model"),
    brand_aliases={
        "Louis Vuitton": ("lv",), "Dr Martens": ("docs", "doc martens"),
        "Le Creuset": ("creuset",), "New Balance": ("nb",), "North Face": ("tnf",),
        "Marks Spencer": ("m&s",), "Ralph Lauren": ("rl", "polo ralph"), "Logitech": ("logi",),
        "Microsoft": ("ms",), "Samsung": ("sammy",), "Fujifilm": ("fuji",),
        "Nintendo": ("ninty",), "Specialized": ("spesh",), "Ravensburger": ("ravens",),
        "Sennheiser": ("senn",), "DeLonghi": ("de longhi", "delonghi"),
        "Maxi-Cosi": ("maxi cosi", "maxicosi"), "Villeroy": ("villeroy and boch",),
        "DeWalt": ("de walt",), "Pokemon": ("pkmn",), "Tommy Hilfiger": ("tommy", "hilfiger"),
        "Hugo Boss": ("boss",), "Husqvarna": ("husky",), "Lonely Planet": ("lp guides",),
        "Tommee Tippee": ("tippee",), "Adidas": ("adi",), "Herman Miller": ("hm office",),
        "GoPro": ("go pro",), "KitchenAid": ("kitchen aid",),
    },
    names=tuple(_NAMES),
    suffixes=("", " pro", " plus", " lite", " max", " mini", " ultra", " classic"),
    designators={"volume": "vol {n}", "year": "{n}"},
    openers=_phrases("""selling
        for sale
        selling my
        quick sale
        clearing out
        moving sale
        hardly used
        unwanted gift
        bargain
        great deal"""),
    conditions=_phrases("""like new
        good condition
        used twice
        barely used
        brand new in box
        some scratches
        well looked after
        fully working
        with original box
        small marks
        never worn
        very clean"""),
    reasons=_phrases("""bought last year, barely used
        bought two years ago and it served us well
        got it as a gift but never needed it
        selling because i am moving house
        no longer needed since i upgraded
        only used a few times
        from a smoke free and pet free home
        it has been in storage for a while
        works perfectly, no issues
        small scratch on the side, see pictures
        kept in the box most of the time
        my kids have outgrown it"""),
    terms=_phrases("""pickup only
        pickup only in {place}
        collection from {place}
        can post for a small fee
        shipping included
        cash on collection
        no returns, private sale
        price is negotiable
        first come first served
        no silly offers please
        message me with any questions
        receipt available"""),
    places=tuple("Leeds Camden Brighton Cardiff Glasgow Norwich Exeter Derby York Bath".split()),
    about=_phrases("""this is a great {noun}
        lovely {noun} with everything in the pictures
        {noun} in full working order
        perfect {noun} for daily use
        selling our {noun}
        genuine {model}
        it is the {model} with all accessories
        {model} as shown in the photos"""),
    attribute_sentences=_phrases("""{label} is {value}
        {label}: {value}
        it is {value}
        {value} version"""),
    sentence_end=". ",
    mistype=mistype,
    join_query=lambda parts, u: " ".join(parts),
    query_extras=("used", "second hand", "cheap", "near me", "bargain", "original"),
)

"""English catalogue, second half: fashion, children, sports, books and hobbies.

Same layout as ``catalogue_en_technology``.
"""

TREE = {
    "Fashion": {
        ("Women's clothing", "size colour", "name"): {
            "Dresses": (
                "dress, gown, frock",
                "summer dress, sundress, floral dress / evening gown, prom dress, ball gown / "
                "wedding dress, bridal gown",
                "Zara: Studio, Basic; Reformation: Midi; Mango: Violeta; Pronovias: Atelier; "
                "Asos: Curve"),
            "Tops and knitwear": (
                "top, womens top",
                "blouse, silk shirt / cardigan, knit jacket, jumper / crop top, tank top, "
                "camisole",
                "Mango: Essential; Uniqlo: Heattech, Linen; Cos: Relaxed; Sezane: Gaspard"),
            "Skirts and trousers": (
                "bottoms, womens bottoms",
                "pleated skirt, midi skirt / high waist jeans, skinny jeans, denim / leggings, "
                "yoga pants, tights",
                "Levis: Ribcage; Lululemon: Align; Agolde: Pinch; Massimo Dutti: Satin"),
            "Women's coats": (
                "womens coat, outerwear",
                "trench coat, raincoat, mac / puffer jacket, down jacket, padded coat / "
                "fur coat, faux fur, teddy coat",
                "Burberry: Kensington; Moncler: Maya; Max Mara: Teddy; North Face: Nuptse; "
                "Canada Goose: Shelburne"),
        },
        ("Men's clothing", "size colour", "name"): {
            "Shirts": (
                "mens shirt, shirt",
                "polo shirt, polo / dress shirt, business shirt, button down / t-shirt, tee, "
                "graphic tee",
                "Ralph Lauren: Custom, Classic; Lacoste: Slim; Eton: Signature; Supreme: Box; "
                "Tommy Hilfiger: Core"),
            "Sweatwear": (
                "sweater, sweatshirt",
                "hoodie, hooded sweatshirt / wool jumper, pullover, knit sweater / tracksuit, "
                "jogging suit, sweatsuit",
                "Nike: Tech, Club; Adidas: Trefoil, Beckenbauer; Stone Island: Ghost; "
                "Essentials: Fog"),
            "Men's trousers": (
                "mens trousers, pants",
                "chinos, khakis, cotton trousers / jeans, denim pants / cargo pants, "
                "work trousers, combat pants",
                "Levis: Original, Taper; Carhartt: WIP; Dockers: Alpha; Diesel: Thommer; "
                "Wrangler: Texas"),
            "Men's jackets": (
                "mens jacket, jacket",
                "leather jacket, biker jacket / suit, blazer, two piece suit / parka, "
                "winter jacket, anorak",
                "Schott: Perfecto; Hugo Boss: Huge; Barbour: Bedale; Patagonia: Torrentshell; "
                "Belstaff: Trialmaster"),
        },
        ("Shoes", "shoe_size colour", "number"): {
            "Trainers": (
                "trainers, sneakers, kicks",
                "running shoes, joggers / basketball shoes, hoop shoes, high tops / skate shoes, "
                "canvas shoes, plimsolls",
                "Nike: Air Max, Jordan=aj~, Pegasus; Adidas: Ultraboost, Stan; "
                "New Balance: Fresh=nb~; Vans: Old Skool; Converse: Chuck"),
            "Boots": (
                "boots, bootees",
                "ankle boots, chelsea boots / work boots, combat boots, lace up boots / wellies, "
                "rubber boots, rain boots",
                "Dr Martens: Jadon, Smooth; Timberland: Premium; Ugg: Mini; Hunter: Tall; "
                "Blundstone: Original"),
            "Formal shoes": (
                "dress shoes, formal shoes",
                "high heels, pumps, stilettos / oxford shoes, brogues, derby shoes / loafers, "
                "moccasins, slip ons",
                "Jimmy Choo: Romy; Church: Shannon; Gucci: Horsebit; Louboutin: Kate; "
                "Clarks: Tilden"),
            "Sandals": (
                "sandals, open shoes",
                "flip flops, thongs, beach sandals / slides, pool sliders, slippers / clogs, "
                "wooden clogs, crocs",
                "Birkenstock: Arizona, Boston; Havaianas: Top; Crocs: Classic; Teva: Hurricane"),
        },
        ("Bags and accessories", "make colour", "name"): {
            "Handbags": (
                "handbag, purse, bag",
                "tote bag, shopper / crossbody bag, shoulder bag, sling / clutch, evening bag, "
                "pochette",
                "Louis Vuitton: Neverfull, Speedy; Gucci: Marmont; Chanel: Flap; Coach: Tabby; "
                "Longchamp: Pliage"),
            "Travel bags": (
                "luggage, travel bag",
                "suitcase, cabin trolley, hand luggage / backpack, rucksack, daypack / "
                "duffel bag, weekender, holdall",
                "Rimowa: Essential, Cabin; Samsonite: Spinner; Fjallraven: Kanken; "
                "Eastpak: Padded; Tumi: Alpha",
                "litres colour"),
            "Watches and jewellery": (
                "jewellery, wrist watch",
                "mechanical watch, automatic watch, dive watch / necklace, pendant, gold chain / "
                "ring, engagement ring, diamond band",
                "Rolex: Submariner, Datejust; Omega: Seamaster; Seiko: Prospex; Tiffany: Heart; "
                "Pandora: Moments"),
            "Small accessories": (
                "fashion accessory, accessories",
                "sunglasses, shades / leather belt, waist belt / scarf, shawl, silk square",
                "Ray-Ban: Wayfarer, Aviator; Hermes: Carre, Kelly; Oakley: Holbrook; Acne: Canada",
                "make colour"),
        },
    },
    "Baby and children": {
        ("Prams and car seats", "colour age", "name"): {
            "Prams": (
                "pram, stroller",
                "buggy, lightweight pushchair / twin stroller, double buggy, tandem pram / "
                "jogging stroller, running buggy, three wheeler",
                "Bugaboo: Fox, Bee; Cybex: Priam; Babyzen: Yoyo; Thule: Urban; Joie: Litetrax"),
            "Car seats": (
                "car seat, child seat",
                "infant carrier, baby car seat, newborn seat / booster seat, high back booster / "
                "isofix base, car seat base",
                "Maxi-Cosi: Pebble, Rodi; Britax: Dualfix; Cybex: Cloud, Solution; Chicco: Keyfit"),
            "Baby carriers": (
                "baby carrier, baby carrying",
                "baby sling, baby wrap / carrier backpack, hiking child carrier / bike trailer, "
                "child trailer, kids bike seat",
                "Ergobaby: Omni; Stokke: Limas; Deuter: Kid; Thule: Chariot; Moby: Classic"),
            "Safety": (
                "child safety, baby proofing",
                "baby monitor, babyphone, video baby cam / stair gate, safety gate / playpen, "
                "play yard",
                "Philips: Avent; BabyDan: Flexi; Motorola: Halo; Lindam: Sure; Vtech: Safe"),
        },
        ("Nursery and feeding", "colour set", "name"): {
            "Cots": (
                "cot, baby bed, crib",
                "bedside crib, co-sleeper / travel cot, folding cot / moses basket, bassinet",
                "Chicco: Next; Stokke: Sleepi; Babybjorn: Light; Snuz: Pod; Ikea: Sniglar"),
            "High chairs": (
                "high chair, feeding chair",
                "grow-along chair, wooden highchair / folding highchair, travel highchair / "
                "baby bouncer, baby rocker, bouncer seat",
                "Stokke: Tripp Trapp, Steps; Peg Perego: Siesta; Babybjorn: Bliss; Ikea: Antilop"),
            "Feeding": (
                "baby feeding, nursing",
                "breast pump, milk pump / bottle set, baby bottles / bottle steriliser, "
                "bottle warmer",
                "Medela: Freestyle, Swing; Avent: Natural; Tommee Tippee: Closer; Elvie: Stride"),
            "Changing and bathing": (
                "baby care, nappy changing",
                "changing table, changing unit, nappy dresser / baby bath, bath seat / "
                "cloth nappies, reusable diapers",
                "Ikea: Gulliver; Shnuggle: Oasis; Bambino: Mio; Stokke: Flexi; Roba: Rock"),
        },
        ("Toys", "age set", "number"): {
            "Construction toys": (
                "building toy, construction toy",
                "building bricks, brick set, lego set / marble run, ball track / wooden blocks, "
                "train track, wooden railway",
                "Lego: Technic, City, Star Wars; Duplo: Town; Gravitrax: Starter; Brio: World"),
            "Dolls and figures": (
                "doll, toy figure",
                "fashion doll, barbie / plush toy, teddy bear, soft toy / action figure, "
                "superhero figure",
                "Mattel: Dreamtopia; Jellycat: Bashful; Steiff: Cuddly; "
                "Hasbro: Marvel, Transformers; Schleich: Farm"),
            "Games and puzzles": (
                "game, board game",
                "family board game, strategy game, tabletop / jigsaw puzzle, 1000 piece puzzle / "
                "card game, playing cards",
                "Ravensburger: Puzzle, Labyrinth; Catan: Expansion; Hasbro: Monopoly; "
                "Asmodee: Ticket; Pokemon: Booster"),
            "Ride-on and outdoor toys": (
                "outdoor toy, ride-on toy",
                "balance bike, toddler bike / kids scooter, push scooter / trampoline, "
                "bouncy net, garden trampoline",
                "Puky: LR; Strider: Sport; Micro: Maxi, Mini; Berg: Favorit; Smoby: Rider"),
        },
        ("Children's clothes and school", "age colour", "name"): {
            "Baby clothes": (
                "baby clothes, infant wear",
                "bodysuit, onesie, romper / snowsuit, pram suit, winter overall / "
                "sleeping bag for baby, baby sleep sack",
                "Petit Bateau: Marine; Carters: Little; Polarn: Pyret; Ergopouch: Jersey"),
            "Girls and boys wear": (
                "kids clothes, childrens clothing",
                "school uniform, school wear / kids rain suit, mud suit, splash suit / "
                "princess costume, fancy dress, kids costume",
                "Marks Spencer: School; Reima: Lassie; Disney: Frozen; Gap: Kids; Molo: Joy"),
            "Kids shoes": (
                "kids shoes, childrens footwear",
                "first walkers, baby shoes / kids trainers, school sneakers / kids winter boots, "
                "snow boots for kids",
                "Clarks: Tiny; Superfit: Moppy; Geox: Respira; Viking: Thor; Kickers: Kick"),
            "School supplies": (
                "school supplies, school things",
                "school bag, satchel, schoolbag / pencil case, pen box / lunch box, bento box, "
                "snack box",
                "Ergobag: Pack, Cubo; Scout: Alpha; Satch: Match; Yumbox: Panino; Step: Space"),
        },
    },
    "Sports and outdoors": {
        ("Cycling", "frame colour", "code"): {
            "Bicycles": (
                "bike, bicycle, pushbike",
                "road bike, racing bike, racer / mountain bike, mtb, full suspension / "
                "city bike, commuter bike, dutch bike",
                "Trek: Domane, Marlin; Specialized: Allez, Rockhopper; Canyon: Endurace; "
                "Giant: Defy; Gazelle: Orange"),
            "E-bikes": (
                "ebike, electric bike, pedelec",
                "cargo bike, family cargo ebike / folding ebike, folding electric bicycle / "
                "electric scooter, e-scooter, kick scooter",
                "Brompton: Electric; Riese Muller: Load; Segway: Ninebot; Tern: Vektron; "
                "VanMoof: S~",
                "colour voltage"),
            "Bike parts": (
                "bike part, cycling component",
                "wheelset, bike wheels, rims / saddle, bike seat / groupset, derailleur, shifters",
                "Shimano: Ultegra, Deore; Sram: Rival; Mavic: Cosmic; Brooks: Cambium; "
                "Dt Swiss: ARC"),
            "Cycling gear": (
                "cycling gear, bike accessory",
                "bike helmet, cycle helmet / bike computer, cycling gps / bike rack, "
                "car bike carrier, roof rack",
                "Giro: Aether, Synthe; Garmin: Edge; Thule: ProRide; Wahoo: Elemnt; Poc: Octal",
                "size colour"),
        },
        ("Camping and hiking", "weight colour", "name"): {
            "Tents": (
                "tent, camping shelter",
                "family tent, tunnel tent / trekking tent, ultralight tent, two man tent / "
                "roof tent, car top tent",
                "Hilleberg: Nallo; MSR: Hubba; Coleman: Coastline; Vango: Odyssey; Thule: Tepui"),
            "Sleeping gear": (
                "camp sleeping, camping bed",
                "sleeping bag, down sleeping bag / camping mat, air mattress, sleeping pad / "
                "hammock, hanging bed",
                "Therm-a-Rest: NeoAir, Trail; Exped: Ultra; Mammut: Relax; Marmot: Trestles; "
                "Ticket: Moon"),
            "Hiking gear": (
                "hiking gear, trekking equipment",
                "hiking boots, walking boots, mountain boots / trekking backpack, "
                "hiking rucksack / trekking poles, walking sticks",
                "Salomon: Quest, Ultra; Lowa: Renegade; Osprey: Atmos; Deuter: Aircontact; "
                "Leki: Makalu"),
            "Camp kitchen": (
                "camp kitchen, outdoor cooking",
                "camping stove, gas cooker / cool box, car fridge, cooler / water bottle, "
                "thermos flask, vacuum flask",
                "Primus: Lite; Jetboil: Flash; Dometic: Cool; Yeti: Tundra; Stanley: Adventure"),
        },
        ("Fitness", "weight colour", "code"): {
            "Cardio machines": (
                "cardio machine, home gym machine",
                "treadmill, running machine / exercise bike, spin bike, indoor bike / "
                "rowing machine, rower, ergometer",
                "NordicTrack: Commercial; Peloton: Bike, Tread; Concept: RowErg; Schwinn: IC; "
                "Kettler: Track"),
            "Weights": (
                "weights, strength training",
                "dumbbells, hand weights / kettlebell, iron bell / weight bench, bench press, "
                "barbell rack",
                "Bowflex: SelectTech; Eleiko: Sport; Rogue: Echo; Hammer: Bermuda; "
                "Body Solid: Power"),
            "Yoga and stretching": (
                "yoga, stretching gear",
                "yoga mat, gym mat / resistance bands, pull bands / foam roller, fascia roll",
                "Manduka: Pro, Eko; Theraband: Set; Blackroll: Standard; Gaiam: Premium",
                "length colour"),
            "Combat sports": (
                "boxing, martial arts gear",
                "boxing gloves, sparring gloves / punch bag, heavy bag / judo suit, karate gi, "
                "kimono",
                "Everlast: Pro; Venum: Challenger; Adidas: Hybrid, Champion; Twins: Special; "
                "Leone: Flash",
                "size colour"),
        },
        ("Ball, water and winter sports", "length level", "code"): {
            "Racket and ball": (
                "racket sports, ball sports",
                "tennis racket, tennis racquet / badminton set, badminton racket / golf clubs, "
                "iron set, golf driver",
                "Wilson: Blade, Clash; Babolat: Pure; Yonex: Astrox; Callaway: Rogue; "
                "Titleist: T~"),
            "Team sports": (
                "team sports, football gear",
                "football boots, soccer cleats / football shirt, team jersey, soccer kit / "
                "basketball hoop, basketball ball",
                "Adidas: Predator, Copa; Nike: Mercurial; Puma: Future; Spalding: Arena",
                "size level"),
            "Water sports": (
                "water sports, watersport gear",
                "surfboard, foamie, wave board / paddle board, sup board / wetsuit, "
                "neoprene suit, diving suit",
                "Red Paddle: Ride; Quiksilver: Syncro; Rip Curl: Flashbomb; Torq: Mod; "
                "Fanatic: Fly"),
            "Winter sports": (
                "winter sports, ski gear",
                "skis, alpine skis, slalom skis / snowboard, freestyle board / ski boots, "
                "snowboard boots",
                "Atomic: Redster, Hawx; Rossignol: Experience; Burton: Custom, Moto; "
                "K2: Mindbender"),
        },
    },
    "Books, music and hobbies": {
        ("Books", "format language", "volume"): {
            "Fiction": (
                "novel, fiction book",
                "crime thriller, detective novel, mystery / fantasy novel, fantasy saga / "
                "romance novel, love story",
                "Rowling: Harry Potter=hp ; Tolkien: Lord of the Rings=lotr ; Christie: Poirot; "
                "Martin: Game of Thrones=got ; Austen: Collected; Larsson: Millennium"),
            "Comics": (
                "comic, comic book",
                "manga, japanese comic / graphic novel, hardcover comic / superhero comic, "
                "marvel comic",
                "Shueisha: One Piece, Naruto, Dragon Ball; Dc: Batman; Marvel: Spider-Man; "
                "Egmont: Asterix"),
            "Textbooks": (
                "textbook, study book",
                "maths textbook, calculus book / language course, language learning book / "
                "exam preparation, test prep book, mock tests",
                "Pearson: Calculus; Cambridge: Ielts; Barron: Sat; Assimil: French; "
                "Springer: Algebra"),
            "Non-fiction": (
                "non-fiction, nonfiction book",
                "cookbook, recipe book / travel guide, guide book / biography, memoir, life story",
                "Ottolenghi: Simple; Lonely Planet: Europe, Asia; Oliver: Kitchen; "
                "Obama: Becoming; Dk: Eyewitness"),
        },
        ("Musical instruments", "colour level", "code"): {
            "Guitars": (
                "guitar, string guitar",
                "electric guitar, strat, e-guitar / acoustic guitar, folk guitar, "
                "western guitar / bass guitar, electric bass",
                "Fender: Stratocaster, Precision; Gibson: Les Paul=lp ; Ibanez: RG, SR; "
                "Yamaha: FG; Taylor: GS"),
            "Keys": (
                "keyboard instrument, piano keys",
                "digital piano, stage piano, e-piano / synthesizer, synth, analog synth / "
                "midi keyboard, midi controller",
                "Yamaha: Clavinova, P~; Roland: Juno; Korg: Minilogue; Casio: Privia; Akai: MPK"),
            "Drums and percussion": (
                "drums, percussion",
                "drum kit, acoustic drum set / electronic drums, e-drum kit / cajon, djembe, "
                "hand drum",
                "Pearl: Export; Roland: TD; Alesis: Nitro; Meinl: Headliner; Tama: Starclassic"),
            "Wind and strings": (
                "orchestra instrument, classical instrument",
                "saxophone, alto sax / violin, fiddle / flute, clarinet, woodwind",
                "Selmer: Axos; Yamaha: YAS, YFL; Stentor: Student; Buffet: Prodige; Gewa: Maestro"),
        },
        ("Collectables", "condition region", "year"): {
            "Trading cards": (
                "trading cards, tcg",
                "pokemon card, booster box / magic card, mtg deck / football card, sports card, "
                "rookie card",
                "Wizards: Dominaria; Panini: Prizm, Adrenalyn; Topps: Chrome; "
                "Nintendo: Scarlet, Charizard"),
            "Coins and stamps": (
                "coins, stamps, philately",
                "silver coin, silver ounce / gold coin, bullion coin / stamp album, "
                "stamp collection",
                "Royal Mint: Britannia; Perth Mint: Kookaburra; Monnaie: Sower; "
                "Stanley Gibbons: Penny"),
            "Records and films": (
                "vinyl and film, physical media",
                "vinyl record, lp, album / dvd box, dvd set / blu-ray, bluray disc, steelbook",
                "Beatles: Abbey; Pink Floyd: Wall; Disney: Pixar; Criterion: Edition; "
                "Taylor Swift: Eras"),
            "Models and antiques": (
                "model making, scale model",
                "model train, h0 locomotive / die-cast car, model car / plastic kit, scale kit, "
                "gunpla",
                "Marklin: Loco; Hornby: Flying; Hot Wheels: Premium; Bandai: Gundam; Revell: Tank"),
        },
        ("Tickets and crafts", "set value", "year"): {
            "Tickets": (
                "ticket, entry ticket",
                "concert ticket, gig ticket, live show pass / football ticket, match ticket / "
                "theme park ticket, day pass",
                "Jay Chou: Carnival; Coldplay: Spheres; Disneyland: Magic; Arsenal: Home; "
                "Taylor Swift: Tour"),
            "Vouchers": (
                "voucher, gift card",
                "restaurant voucher, dinner coupon / hotel voucher, spa weekend voucher / "
                "shop gift card, store credit",
                "Smartbox: Gourmet; Marriott: Stay; Amazon: Gift; Ikea: Family; Wonderbox: Escape"),
            "Needlework": (
                "needlework, handicraft",
                "knitting yarn, wool balls / quilting fabric, cotton fabric / embroidery kit, "
                "cross stitch kit",
                "Drops: Alpaca; Rowan: Felted; Dmc: Mouline; Moda: Charm; Malabrigo: Rios",
                "set colour"),
            "Art supplies": (
                "art supplies, painting gear",
                "acrylic paints, paint set / easel, canvas stand / markers, copic pens, "
                "brush pens",
                "Winsor Newton: Cotman; Copic: Sketch; Mabef: Studio; Liquitex: Basics; Posca: PC",
                "set colour"),
        },
    },
}

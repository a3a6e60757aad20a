"""English catalogue, first half: electronics, computers, appliances, furniture.

{root: {(level 2, key attributes, model format): {level 3: (words, leaves, makers)}}}, where
words   are the names people use for the whole level-3 category, commonest first;
leaves  are three groups split by " / ", each a leaf category: its name, then its synonyms;
makers  read "Brand: series, series; Brand: ..."; "PlayStation=ps~" gives a series an alias, and
        "~" glues the model number to it (ps5).
A fourth entry, where present, replaces the key attributes of level 2. The model format says how
the makers number their models, see ``world.designator``.
"""

TREE = {
    "Electronics": {
        ("Phones and tablets", "storage colour", "number"): {
            "Smartphones": (
                "phone, smartphone, mobile phone",
                "5g phone, 5g mobile, 5g handset / dual sim phone, two sim mobile / "
                "foldable phone, flip phone",
                "Apple: iPhone=ip~; Samsung: Galaxy S=s~, Galaxy A=a~; Xiaomi: Redmi Note, Mi; "
                "Google: Pixel; OnePlus: Nord"),
            "Tablets": (
                "tablet, tab",
                "drawing tablet, sketch pad, pen display / e-reader, ebook reader, kindle / "
                "kids tablet, childrens tablet",
                "Apple: iPad, iPad Air; Samsung: Galaxy Tab=tab s~; Amazon: Fire HD, Paperwhite; "
                "Lenovo: Tab M"),
            "Phone accessories": (
                "phone accessory, mobile accessory",
                "phone case, mobile cover, bumper / wireless charger, charging pad / power bank, "
                "portable charger, battery pack",
                "Anker: PowerCore, PowerWave; Spigen: Armor; Belkin: Boost; Otterbox: Defender; "
                "Mophie: Juice",
                "colour condition"),
            "Landline and radio": (
                "telephone, home phone",
                "cordless phone, dect handset / walkie talkie, two way radio, handheld radio / "
                "answering machine, voicemail phone",
                "Motorola: Talkabout, Startac; Gigaset: Comfort; Panasonic: KX; Baofeng: UV",
                "colour condition"),
        },
        ("Audio", "colour connection", "code"): {
            "Headphones": (
                "headphones, headset, cans",
                "wireless earbuds, bluetooth earphones, in-ear buds / "
                "noise cancelling headphones, over-ear anc headset / studio headphones, "
                "monitor cans",
                "Sony: WH=xm~, WF; Bose: QuietComfort=qc~; Sennheiser: Momentum, HD; "
                "Apple: AirPods; JBL: Tune"),
            "Speakers": (
                "speaker, loudspeaker",
                "bluetooth speaker, portable boombox / soundbar, tv sound bar / "
                "bookshelf speakers, stereo pair, hifi speakers",
                "JBL: Flip, Charge; Sonos: Beam, Play; Marshall: Emberton; Klipsch: Reference; "
                "Bose: SoundLink"),
            "Hi-fi": (
                "hifi, stereo system",
                "amplifier, stereo amp, receiver / turntable, record player, vinyl deck / "
                "cd player, compact disc deck",
                "Denon: PMA, DP; Technics: SL; Yamaha: AS; Cambridge: Azur; Pioneer: PL"),
            "Recording": (
                "recording gear, studio equipment",
                "condenser microphone, usb mic / audio interface, recording sound card / "
                "mixing desk, dj mixer, mixer console",
                "Rode: NT; Focusrite: Scarlett; Behringer: Xenyx; Shure: SM, MV; Blue: Yeti"),
        },
        ("Cameras", "condition accessories", "code"): {
            "Digital cameras": (
                "camera, digital camera",
                "mirrorless camera, system camera / dslr, reflex camera, slr body / "
                "compact camera, point and shoot, pocket camera",
                "Canon: EOS, PowerShot; Nikon: D~, Z~; Sony: Alpha, RX; Fujifilm: X-T; "
                "Panasonic: Lumix"),
            "Lenses": (
                "lens, camera lens, glass",
                "zoom lens, telephoto, long lens / prime lens, fixed fifty, portrait lens / "
                "macro lens, close-up lens",
                "Sigma: Art, Contemporary; Tamron: Di; Canon: EF, RF; Nikon: Nikkor; Zeiss: Batis"),
            "Video and drones": (
                "video camera, camcorder",
                "drone, quadcopter, flying camera / action camera, helmet cam, sports cam / "
                "gimbal, camera stabiliser",
                "DJI: Mavic, Osmo; GoPro: Hero; Insta: One; Zhiyun: Crane; Parrot: Anafi"),
            "Film and studio": (
                "analog photography, photo studio gear",
                "film camera, 35mm camera, analog camera / instant camera, polaroid / tripod, "
                "camera stand, studio tripod",
                "Olympus: OM, Trip; Pentax: K; Fujifilm: Instax; Manfrotto: Befree; Leica: M"),
        },
        ("Wearables and smart home", "colour release", "number"): {
            "Smartwatches": (
                "smartwatch, smart watch",
                "running watch, gps watch / fitness band, activity tracker, step counter / "
                "lte watch, cellular watch",
                "Apple: Watch Series, Watch Ultra; Garmin: Forerunner, Fenix; Fitbit: Charge; "
                "Xiaomi: Mi Band; Huawei: Watch GT"),
            "Televisions": (
                "tv, television, telly",
                "oled tv, oled screen / 4k tv, uhd television / portable projector, beamer, "
                "home cinema projector",
                "LG: C~, Nano; Samsung: Frame, Crystal; Sony: Bravia; Epson: EH; Hisense: U~",
                "screen release"),
            "Streaming": (
                "media player, streaming device",
                "tv stick, streaming stick / tv box, set top box / voice speaker, smart speaker, "
                "voice assistant",
                "Amazon: Fire Stick, Echo; Google: Chromecast, Nest Mini; Roku: Express; "
                "Apple: TV"),
            "Home automation": (
                "smart home, home automation",
                "video doorbell, door camera / smart thermostat, heating controller / "
                "smart bulb, led lamp, wifi light",
                "Ring: Doorbell; Philips: Hue; Nest: Learning, Hello; Tado: Starter; Eufy: Cam"),
        },
    },
    "Computers and gaming": {
        ("Laptops and desktops", "memory storage", "number"): {
            "Laptops": (
                "laptop, notebook, notebook computer",
                "ultrabook, thin and light laptop / gaming laptop, gamer notebook / chromebook, "
                "student laptop, school notebook",
                "Apple: MacBook Air=mba , MacBook Pro=mbp ; Dell: XPS, Inspiron; "
                "Lenovo: ThinkPad, IdeaPad; Asus: ZenBook, ROG"),
            "Desktops": (
                "desktop pc, computer, desktop computer",
                "mini pc, nuc, small form computer / gaming pc, gamer tower, gaming rig / "
                "all-in-one pc, aio computer",
                "Apple: iMac, Mac Mini; HP: Omen, Pavilion; Intel: NUC; Dell: OptiPlex; "
                "MSI: Trident"),
            "Monitors": (
                "monitor, computer screen, display",
                "curved monitor, ultrawide display / gaming monitor, 144hz screen / "
                "portable monitor, usb-c travel screen",
                "Dell: UltraSharp; LG: UltraGear; Samsung: Odyssey; BenQ: Zowie; AOC: Agon",
                "screen release"),
            "Storage devices": (
                "storage drive, data storage",
                "external hard drive, portable hdd / ssd, solid state drive, nvme / nas, "
                "network storage, file server",
                "Samsung: Evo, Portable T~; Seagate: Backup, Barracuda; WD: Passport, Blue; "
                "Synology: DiskStation=ds~",
                "storage condition"),
        },
        ("Computer parts", "release condition", "code"): {
            "Graphics cards": (
                "graphics card, gpu, video card",
                "nvidia card, geforce, rtx card / radeon card, amd gpu / capture card, "
                "video grabber",
                "MSI: Ventus, Gaming; Gigabyte: Eagle, Aorus; Sapphire: Pulse; Zotac: Twin; "
                "Elgato: HD"),
            "Core components": (
                "pc component, computer hardware",
                "processor, cpu, chip / motherboard, mainboard / ram kit, memory module, "
                "ddr sticks",
                "Intel: Core i~; AMD: Ryzen; Asus: Prime, Strix; Corsair: Vengeance; "
                "Kingston: Fury"),
            "Cases and cooling": (
                "pc build parts, tower parts",
                "pc case, tower case, chassis / cpu cooler, water cooling, aio cooler / "
                "power supply, psu, atx supply",
                "NZXT: Kraken; Noctua: NH; Corsair: RM, Airflow; Fractal: Define; Be Quiet: Rock"),
            "Input devices": (
                "pc peripherals, computer accessories",
                "mechanical keyboard, gaming keyboard / gaming mouse, wireless mouse / webcam, "
                "web camera, streaming cam",
                "Logitech: MX, G~; Razer: DeathAdder, BlackWidow; Keychron: K~; "
                "SteelSeries: Rival"),
        },
        ("Consoles and games", "condition region", "number"): {
            "Game consoles": (
                "console, games console, video game system",
                "home console, tv console / handheld console, portable console / retro console, "
                "vintage games machine",
                "Sony: PlayStation=ps~, PSP; Microsoft: Xbox, Xbox Series; "
                "Nintendo: Switch, Game Boy, DS; Sega: Mega Drive"),
            "Video games": (
                "video game, console game, game disc",
                "racing game, driving game / role playing game, rpg / sports game, "
                "football game, soccer title",
                "Nintendo: Zelda, Mario Kart, Pokemon; EA: FIFA, Need for Speed; Rockstar: GTA; "
                "Square: Final Fantasy=ff~"),
            "Game controllers": (
                "controller, gamepad, joypad",
                "wireless controller, bluetooth gamepad / racing wheel, "
                "steering wheel and pedals / flight stick, joystick",
                "Sony: DualSense; Microsoft: Elite; Thrustmaster: T~; Logitech: Driving Force"),
            "Virtual reality": (
                "vr, virtual reality",
                "vr headset, vr goggles / motion tracker, body tracking sensor / vr treadmill, "
                "walking pad for vr",
                "Meta: Quest; HTC: Vive; Valve: Index; Pico: Neo; Kat: Walk"),
        },
        ("Networking and office", "colour condition", "code"): {
            "Routers": (
                "router, wifi, wlan router",
                "mesh wifi, whole home wifi / 5g router, lte modem, mobile hotspot / "
                "wifi extender, repeater, signal booster",
                "TP-Link: Archer, Deco; Netgear: Orbi, Nighthawk; AVM: Fritz; Asus: RT"),
            "Printers": (
                "printer, printing machine",
                "laser printer, toner printer / inkjet printer, photo printer / 3d printer, "
                "filament printer",
                "HP: LaserJet, Envy; Epson: EcoTank; Brother: HL; Creality: Ender; Canon: Pixma"),
            "Office machines": (
                "office machine, office equipment",
                "paper shredder, document destroyer / label maker, label printer / "
                "document scanner, flatbed scanner",
                "Fellowes: Powershred; Dymo: LabelWriter; Fujitsu: ScanSnap; Brother: P-Touch"),
            "Desks and chairs": (
                "office furniture, workplace",
                "office chair, swivel chair, desk chair / standing desk, "
                "height adjustable desk / monitor arm, screen mount",
                "Herman Miller: Aeron; Ikea: Markus, Bekant; Flexispot: Pro; Ergotron: LX"),
        },
    },
    "Home appliances": {
        ("Kitchen appliances", "colour litres", "code"): {
            "Coffee machines": (
                "coffee machine, coffee maker",
                "espresso machine, portafilter / capsule machine, pod coffee maker / "
                "coffee grinder, burr mill, bean grinder",
                "DeLonghi: Dedica, Magnifica; Nespresso: Vertuo, Essenza; Jura: E~; "
                "Sage: Barista; Krups: Dolce"),
            "Cooking": (
                "cooker, kitchen cooking appliance",
                "air fryer, hot air fryer, oil free fryer / rice cooker, rice steamer / "
                "microwave, microwave oven",
                "Philips: Airfryer; Ninja: Foodi; Panasonic: NN; Tefal: Actifry; Cuckoo: CR"),
            "Food preparation": (
                "food processor, kitchen machine",
                "stand mixer, dough mixer, baking mixer / blender, smoothie maker, liquidiser / "
                "juicer, juice press",
                "KitchenAid: Artisan; Bosch: MUM; Vitamix: Explorian; Kenwood: Chef; Hurom: H~"),
            "Small kitchen": (
                "small kitchen appliance, countertop appliance",
                "toaster, bread toaster / electric kettle, water boiler / waffle iron, "
                "waffle maker",
                "Smeg: Retro; Russell Hobbs: Heritage; Breville: Impressions; Cloer: Classic"),
        },
        ("Large appliances", "capacity energy", "code"): {
            "Refrigeration": (
                "fridge, refrigerator",
                "fridge freezer, combi fridge / chest freezer, deep freezer / wine cooler, "
                "wine fridge",
                "Bosch: Serie; LG: InstaView; Liebherr: Comfort; Haier: Cube; Smeg: FAB"),
            "Laundry": (
                "laundry appliance, white goods",
                "washing machine, washer / tumble dryer, clothes dryer, heat pump dryer / "
                "washer dryer, combo washer",
                "Miele: W~, T~; Siemens: iQ; Samsung: EcoBubble; AEG: Lavatherm; Beko: WTV",
                "load energy"),
            "Ovens and dishwashers": (
                "built-in kitchen appliance, fitted appliance",
                "dishwasher, dish washing machine / oven, built in oven / induction hob, "
                "cooktop, induction stove",
                "Neff: Slide; Bosch: SMS; Siemens: EX; Whirlpool: Supreme; Gorenje: BO",
                "energy colour"),
            "Climate": (
                "air treatment, climate device",
                "air conditioner, portable ac, cooling unit / air purifier, hepa filter / "
                "electric heater, oil radiator, fan heater",
                "DeLonghi: Pinguino, Dragon; Dyson: Pure; Daikin: Ururu; Levoit: Core; "
                "Midea: Porta",
                "power energy"),
        },
        ("Cleaning", "colour power", "number"): {
            "Vacuum cleaners": (
                "vacuum cleaner, hoover, vacuum",
                "cordless vacuum, stick hoover / robot vacuum, robovac, cleaning robot / "
                "handheld vacuum, car vacuum",
                "Dyson: V~, Cyclone; iRobot: Roomba; Miele: Complete; Shark: Rocket; Roborock: S~"),
            "Floor care": (
                "floor cleaner, floor care",
                "steam mop, steam cleaner / carpet cleaner, upholstery washer, spot cleaner / "
                "window vac, glass cleaner",
                "Karcher: SC, WV; Bissell: SpotClean, CrossWave; Vileda: Steam; Leifheit: Click"),
            "Ironing and sewing": (
                "ironing, textile care",
                "steam iron, flat iron / garment steamer, clothes steamer / sewing machine, "
                "overlocker",
                "Singer: Heavy Duty, Tradition; Brother: CS; Tefal: Ultragliss; Philips: Azur"),
            "Water and pressure": (
                "high pressure, water treatment",
                "pressure washer, jet wash / water filter, filter jug / water softener, "
                "descaling unit",
                "Karcher: K~; Bosch: Aquatak; Brita: Marella; Nilfisk: Core; Grohe: Blue"),
        },
        ("Personal care", "colour voltage", "code"): {
            "Hair care": (
                "hair styling, hair tool",
                "hair dryer, blow dryer / hair straightener, flat iron for hair, ghd / "
                "curling iron, curling wand, hair curler",
                "Dyson: Supersonic, Airwrap; GHD: Platinum, Curve; Remington: Silk; Babyliss: Pro"),
            "Shaving": (
                "shaver, grooming",
                "electric razor, foil shaver / beard trimmer, hair clipper / epilator, "
                "hair removal, ipl",
                "Braun: Series, Silk; Philips: Norelco, Lumea; Panasonic: ES; Wahl: Senior"),
            "Oral care": (
                "dental care, tooth cleaning",
                "electric toothbrush, sonic toothbrush / water flosser, oral irrigator / "
                "toothbrush heads, replacement brush heads",
                "Oral-B: iO, Genius; Philips: Sonicare; Waterpik: Ultra; Oclean: X~"),
            "Wellness": (
                "wellness device, health device",
                "massage gun, muscle massager / blood pressure monitor, bp meter / "
                "bathroom scale, body fat scale",
                "Theragun: Elite, Mini; Omron: M~; Withings: Body; Beurer: BM; Renpho: Elis"),
        },
    },
    "Furniture and home": {
        ("Living room", "material colour", "name"): {
            "Sofas": (
                "sofa, couch, settee",
                "corner sofa, sectional, l-shaped couch / sofa bed, futon, pull-out couch / "
                "two seater, loveseat",
                "Ikea: Ektorp, Kivik, Klippan; Made: Scott; Hay: Mags; Dfs: Sophia",
                "fabric colour"),
            "Chairs": (
                "chair, seat",
                "armchair, wing chair, easy chair / rocking chair, nursing chair / recliner, "
                "lounge chair, tv chair",
                "Ikea: Poang, Strandmon; Eames: Lounge; Stressless: Consul; Habitat: Celine",
                "fabric colour"),
            "Tables": (
                "table, living room table",
                "coffee table, sofa table / side table, end table, nightstand table / "
                "console table, hallway table",
                "Ikea: Lack, Hemnes; West Elm: Mid; Muuto: Airy; Vitra: Plate"),
            "Shelves and media": (
                "storage furniture, shelving",
                "bookcase, bookshelf, shelf unit / tv stand, tv bench, media unit / sideboard, "
                "credenza, chest cabinet",
                "Ikea: Billy, Kallax, Besta; String: Pocket; Usm: Haller; Cb2: Suspend"),
        },
        ("Bedroom", "bed_size colour", "name"): {
            "Beds": (
                "bed, bed frame",
                "double bed, king bed frame / bunk bed, loft bed / day bed, single bed, guest bed",
                "Ikea: Malm, Brimnes; Muji: Oak; Hasena: Woodline; Dreams: Wilson"),
            "Mattresses": (
                "mattress, sleeping surface",
                "memory foam mattress, foam mattress / spring mattress, pocket sprung / "
                "mattress topper, bed topper",
                "Emma: Hybrid, One; Casper: Original; Tempur: Cloud; Simba: Luxe"),
            "Wardrobes": (
                "wardrobe, closet, armoire",
                "sliding door wardrobe, mirror wardrobe / chest of drawers, dresser / "
                "clothes rail, garment rack, coat rack",
                "Ikea: Pax, Rigga; Hulsta: Now; Nolte: Mobel; Songmics: Steel",
                "material colour"),
            "Bedding": (
                "bedding, bed linen",
                "duvet, quilt, comforter / duvet cover set, bed sheets / pillow, cushion, "
                "neck pillow",
                "Brinkhaus: Down; Marimekko: Unikko; Bassetti: Granfoulard; Dunlopillo: Serenity"),
        },
        ("Dining and decoration", "ware set", "name"): {
            "Tableware": (
                "tableware, crockery",
                "dinner set, plate set, dinnerware / coffee mugs, cups, tea set / wine glasses, "
                "stemware",
                "Villeroy: Boch, Manufacture; Royal Copenhagen: Fluted; Riedel: Vinum; "
                "Denby: Studio"),
            "Cookware": (
                "cookware, pots and pans",
                "frying pan, skillet / casserole, dutch oven, cast iron pot / knife set, "
                "kitchen knives, chef knife",
                "Le Creuset: Signature; Tefal: Ingenio; Staub: Cocotte; Zwilling: Pro, Twin",
                "cook set"),
            "Lighting": (
                "lamp, light, lighting",
                "floor lamp, standing lamp / pendant light, ceiling lamp, chandelier / "
                "table lamp, desk light, bedside lamp",
                "Louis Poulsen: Panthella; Flos: Arco; Ikea: Ranarp; Artemide: Tolomeo",
                "light colour"),
            "Decoration": (
                "home decor, decoration",
                "rug, carpet, kilim / wall mirror, round mirror / vase, flower vase, planter",
                "Ferm: Living; Bloomingville: Nordic; Iittala: Aalto; Safavieh: Adirondack",
                "length colour"),
        },
        ("Garden and tools", "power condition", "code"): {
            "Power tools": (
                "power tool, diy tool",
                "cordless drill, impact driver, screwdriver drill / circular saw, jigsaw, "
                "table saw / sander, angle grinder",
                "Makita: DHP, DLX; Bosch: Professional, GSR; DeWalt: DCD; Hilti: TE; Ryobi: One"),
            "Hand tools": (
                "hand tool, workshop tool",
                "tool box, tool chest / socket set, ratchet set, spanner set / workbench, "
                "work table",
                "Stanley: FatMax; Wera: Zyklop; Hazet: Pro; Black Decker: Workmate",
                "set condition"),
            "Garden machines": (
                "garden machine, gardening equipment",
                "lawn mower, grass cutter / hedge trimmer, hedge cutter / chainsaw, chain saw, "
                "log saw",
                "Husqvarna: Automower, Rancher; Stihl: MS, HSA; Gardena: Sileno; Honda: HRX"),
            "Garden furniture": (
                "garden furniture, patio furniture",
                "bbq, grill, barbecue / garden table, patio set / parasol, sun umbrella, sunshade",
                "Weber: Spirit, Master Touch; Fermob: Bistro; Napoleon: Rogue; Glatz: Alexo",
                "material condition"),
        },
    },
}

"""The data: which origins there are, of which packages, with which classes."""

from dataclasses import dataclass

EMOJI = "emoji-datasource-google"
DIGITS = "scikit-learn"

FONTS = tuple(
    f"fonts-{name}"
    for name in """
    lato open-sans dejavu-core dejavu-extra liberation2 linuxlibertine roboto-unhinted roboto-slab cantarell comfortaa
    dosis ebgaramond inter junicode oldstandard quicksand urw-base35 texgyre firacode hack inconsolata jetbrains-mono
    sil-charis sil-doulos sil-andika sil-gentiumplus lobster lobstertwo dancingscript humor-sans breip rufscript
    isabella cabin karla play yanone-kaffeesatz jura averia-sans-gwf averia-serif-gwf crosextra-carlito
    crosextra-caladea freefont-ttf gfs-didot gfs-neohellenic oxygen aenigma dustin sjfonts
    """.split()  # noqa: SIM905 - read and kept as lines
)
SCRIPT_FONTS = ("fonts-noto-core", "fonts-noto-extra")


@dataclass(frozen=True)
class Origin:
    """A collection of its own labels and, but for ``SHARED``, of its own images.

    Attributes:
        name: of the origin.
        packages: the Debian packages, npm package or PyPI package that its images are from.
        root: a folder of the package, or the families of a script's fonts.
        classes: class -> places: folders or patterns of files, subcategories of emoji, characters, or fonts' names.
        how: the finder in gather.py.
        is_animated: whether files that differ in a number at the end are frames of one animation.
        is_domain: whether it trains a source instead of being cut into tasks.
    """

    name: str
    packages: tuple[str, ...]
    root: str
    classes: dict[str, tuple[str, ...]]
    how: str = "folders"
    is_animated: bool = False
    is_domain: bool = False


CLIPART = "usr/share/openclipart/png"
STAMPS = "usr/share/tuxpaint/stamps"
SKY = "usr/share/games/endless-sky/images"
HEDGEWARS = "usr/share/games/hedgewars/Data"
PINGUS = "usr/share/games/pingus/data/images"
SUPERTUX = "usr/share/games/supertux2/images"
WIDELANDS = "usr/share/games/widelands/data"
WORKERS = f"{WIDELANDS}/tribes/workers"
TRIBES = "amazons atlanteans barbarians empire frisians"
CONTEXTS = "actions apps devices mimetypes places status"
WALKS = "e ne nw se sw w"


def _same(names: str) -> dict[str, tuple[str, ...]]:
    """Return class -> (folder,) with the folder's last part as the class."""
    return {name.rsplit("/", 1)[-1]: (name,) for name in names.split()}


def _places(**classes: str) -> dict[str, tuple[str, ...]]:
    """Return class -> places that commas part."""
    return {label: tuple(each.strip() for each in text.split(",")) for label, text in classes.items()}


def _clip(name: str, names: str) -> Origin:
    return Origin(f"clipart-{name}", ("openclipart-png",), CLIPART, _same(names))


def _emoji(name: str, **classes: str) -> Origin:
    return Origin(f"emoji-{name}", (EMOJI,), "", _places(**classes), "emoji")


def _icons(name: str, root: str, classes: str = CONTEXTS) -> Origin:
    return Origin(f"icons-{name}", (f"{name}-icon-theme",), root, _same(classes), "icons")


def _workers(tribe: str, names: str) -> Origin:
    return Origin(f"widelands-{tribe}", ("widelands-data",), f"{WORKERS}/{tribe}", _same(names), "workers")


def _letters(name: str, letters: str, *, is_domain: bool = False) -> Origin:
    classes = {f"u{ord(each):04x}": (each,) for each in letters}
    return Origin(name, FONTS, "", classes, "letters", is_domain=is_domain)


def _families(name: str, **fonts: str) -> Origin:
    return Origin(f"family-{name}", FONTS, "", _places(**fonts), "families")


def _scripts(name: str, names: str) -> Origin:
    classes = {each.lower(): (f"NotoSans{each}", f"NotoSerif{each}") for each in names.split()}
    return Origin(f"scripts-{name}", SCRIPT_FONTS, "", classes, "scripts")


def _alphabet(name: str, letters: str) -> Origin:
    families = f"NotoSans{name} NotoSerif{name} NotoLooped{name} NotoKufi{name} NotoNaskh{name} NotoRashi{name}"
    classes = {f"u{ord(each):04x}": (each,) for each in letters}
    return Origin(f"alphabet-{name.lower()}", SCRIPT_FONTS, families, classes, "alphabets")


ORIGINS = (
    _clip("animals", "animals/birds animals/bugs animals/fish animals/mammals"),
    _clip("food", "food/beverages food/desserts food/fruit food/meats_and_eggs food/breads_and_carbs"),
    _clip("people", "people/bodypart people/clothing people/smilies people/stickmen"),
    _clip("recreation", "recreation/holiday recreation/music recreation/party recreation/sports recreation/toys"),
    _clip("shapes", "shapes/arrows shapes/callouts shapes/flowchart shapes/jigsaw shapes/stars"),
    _clip(
        "signs",
        "signs_and_symbols/clocks signs_and_symbols/led signs_and_symbols/weather signs_and_symbols/map_symbols",
    ),
    _clip("flags", "".join(f"signs_and_symbols/flags/{each} " for each in ["africa", "america", "asia", "europe"])),
    _clip("cards", "recreation/games/cards/ornamental recreation/games/cards/white recreation/games/cards/bordered"),
    _clip("places", "buildings plants tools office geography"),
    _clip("computer", "computer/buttons computer/hardware computer/icons/etiquette-theme"),
    _clip(
        "transport",
        "transportation/aiga-symbols transportation/boating transportation/roadsigns transportation/vehicles",
    ),
    Origin("stamps-kinds", ("tuxpaint-stamps-default",), STAMPS, _same("food symbols town plants seasonal vehicles")),
    Origin(
        "stamps-animals", ("tuxpaint-stamps-default",), STAMPS, _same("animals/birds animals/insects animals/mammals")
    ),
    _emoji("food", prepared="food-prepared,food-asian", plant="food-vegetable,food-fruit", drink="drink"),
    _emoji(
        "animals", mammal="animal-mammal", bird="animal-bird", sea="animal-marine", plant="plant-other,plant-flower"
    ),
    _emoji(
        "objects", clothing="clothing", music="musical-instrument,music,sound", tool="tool", office="office,writing"
    ),
    _emoji("travel", ground="transport-ground", building="place-building", sky="sky & weather", time="time"),
    _emoji("people", role="person-role", sport="person-sport", gesture="person-gesture", fantasy="person-fantasy"),
    _emoji("symbols", alphanum="alphanum", arrow="arrow", media="av-symbol", geometric="geometric", heart="heart"),
    _emoji(
        "hands",
        open="hand-fingers-open",
        partial="hand-fingers-partial",
        single="hand-single-finger",
        closed="hand-fingers-closed",
        hands="hands",
    ),
    Origin(
        "emoji-tones",
        (EMOJI,),
        "",
        _places(light="1F3FB", medium_light="1F3FC", medium="1F3FD", medium_dark="1F3FE", dark="1F3FF"),
        "tones",
    ),
    _icons("oxygen", "usr/share/icons/oxygen/base"),
    _icons("gnome", "usr/share/icons/gnome"),
    _icons("faenza", "usr/share/icons/Faenza"),
    Origin("hedgewars-kinds", ("hedgewars-data",), f"{HEDGEWARS}/Graphics", _same("Flags Hats Graves")),
    Origin(
        "hedgewars-themes",
        ("hedgewars-data",),
        f"{HEDGEWARS}/Themes",
        _same("Beach Brick Cake Compost Desert Fruit Golf Jungle Sheep Underwater"),
    ),
    Origin(
        "sky-kinds",
        ("endless-sky-data",),
        SKY,
        _same("outfit planet ship projectile effect"),
        is_animated=True,
    ),
    Origin(
        "sky-land",
        ("endless-sky-data",),
        f"{SKY}/land",
        _places(
            mountain="mountain*",
            city="city*",
            water="sea*,water*,beach*",
            canyon="canyon*,valley*",
            snow="snow*",
            green="fields*,mfield*,hills*,forest*",
        ),
    ),
    Origin(
        "freeciv-kinds",
        ("freeciv-data",),
        "usr/share/games/freeciv",
        _places(shield="flags/*-shield-large.png", flag="flags/*-large.png", building="buildings", wonder="wonders"),
        "flags",
    ),
    Origin("pingus-ground", ("pingus-data",), f"{PINGUS}/groundpieces/ground", _same("desert real snow sweets jungle")),
    Origin(
        "pingus-kinds",
        ("pingus-data",),
        PINGUS,
        _same("groundpieces/solid groundpieces/transparent textures entrances exits"),
    ),
    Origin(
        "supertux-creatures",
        ("supertux-data",),
        f"{SUPERTUX}/creatures",
        _same("snowball mr_tree mr_iceblock yeti crystallo mr_cherry plant ghosttree"),
        is_animated=True,
    ),
    Origin(
        "supertux-tux",
        ("supertux-data",),
        f"{SUPERTUX}/creatures/tux",
        _same("small big fire ice earth air"),
        is_animated=True,
    ),
    Origin(
        "supertux-tiles",
        ("supertux-data",),
        f"{SUPERTUX}/tiles",
        _same("forest lava water snow castle waterfall blocks"),
        is_animated=True,
    ),
    Origin(
        "supertux-kinds",
        ("supertux-data",),
        SUPERTUX,
        _same("objects particles worldmap engine decal background"),
        is_animated=True,
    ),
    _workers(
        "barbarians",
        "brewer blacksmith lumberjack farmer hunter miner ranger gardener baker stonemason carrier geologist",
    ),
    _workers(
        "empire", "carpenter brewer lumberjack farmer hunter miner vinefarmer baker weaver smelter carrier soldier"
    ),
    _workers(
        "amazons",
        "carrier cook builder cocoa_farmer scout shipwright trainer gold_digger dressmaker stonecutter liana_cutter",
    ),
    Origin(
        "widelands-critters",
        ("widelands-data",),
        f"{WIDELANDS}/world/critters",
        _same("badger brownbear bunny chamois deer duck fox lynx marten moose sheep stag wildboar wisent wolf"),
        "workers",
    ),
    Origin("widelands-walks", ("widelands-data",), f"{WORKERS}/atlanteans", _same(WALKS), "directions"),
    Origin(
        "widelands-buildings",
        ("widelands-data",),
        f"{WIDELANDS}/tribes/buildings",
        {tribe: (f"*/{tribe}/*/menu.png",) for tribe in TRIBES.split()},
    ),
    Origin(
        "widelands-terrains",
        ("widelands-data",),
        f"{WIDELANDS}/world/terrains",
        _same("desert summer wasteland winter"),
        is_animated=True,
    ),
    Origin("digits", (DIGITS,), "", {str(n): (str(n),) for n in range(10)}, "digits"),
    _letters("letters-upper", "ABCDEFGHJKLMNPQRSTUY"),
    _letters("letters-lower", "abdefghijkmnqrtuy"),
    _letters("letters-digits", "123456789"),
    _letters("letters-greek", "ΓΔΘΛΞΠΣΦΨΩ"),
    _letters("letters-cyrillic", "БГДЖИЛПЦЧШЭЮЯ"),
    _letters("letters-greek-lower", "αβγδεζηθλμξπσφψω"),
    _letters("letters-cyrillic-lower", "бгджилпцчшэюя"),
    _letters("letters-punctuation", "!?&%#@$*+=§€"),
    _letters("letters-accents", "ÄÁÀÂÅÑÇØ"),
    _scripts("indic", "Devanagari Bengali Tamil Telugu Kannada Gujarati Gurmukhi Malayalam Sinhala"),
    _scripts("west", "Armenian Georgian Hebrew Arabic Ethiopic Thaana Cherokee"),
    _scripts("southeast", "Thai Lao Khmer Myanmar Javanese Balinese"),
    _scripts("ancient", "EgyptianHieroglyphs Cuneiform LinearB LinearA Runic Glagolitic Gothic Coptic"),
    _scripts("living", "Vai Yi CanadianAboriginal Tifinagh NKo Bamum OlChiki Lisu"),
    _alphabet("Thai", "กขคงจชซดตถทนบปผพมยรล"),
    _alphabet("Hebrew", "אבגדהוזחטיכלמנסעפצקרשת"[:20]),
    _alphabet("Armenian", "ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄ"),
    _alphabet("Georgian", "აბგდევზთიკლმნოპჟრსტუ"),
    _alphabet("Devanagari", "अआइउएकखगघचछजझटठडढतथद"),
    _alphabet("Ethiopic", "ሀለሐመሠረሰሸቀበተኀነአከኸወዐዘየ"),
    _alphabet("Tamil", "அஆஇஉஎகஙசஜஞடணதநபமயரலவ"),
    _families("sans", lato="Lato-Regular", opensans="OpenSans-Regular", dejavu="DejaVuSans", roboto="Roboto-Regular"),
    _families("serif", dejavu="DejaVuSerif", liberation="LiberationSerif-Regular", caladea="Caladea-Regular"),
    _families("mono", dejavu="DejaVuSansMono", hack="Hack-Regular", liberation="LiberationMono-Regular"),
    _families("hand", lobster="LobsterTwo-Regular", humor="Humor-Sans", breip="Breip", dancing="DancingScript-Regular"),
    _families("lato", thin="Lato-Thin", regular="Lato-Regular", black="Lato-Black", italic="Lato-Italic"),
    _families(
        "slabs",
        robotoslab="RobotoSlab-Regular",
        c059="C059-Roman",
        charis="CharisSIL-Regular",
        oldstandard="OldStandard-Regular",
    ),
)

SHARED = {
    "emoji-hands": "emoji-people",
    "emoji-tones": "emoji-people",
    "clipart-transport": "clipart-signs",
    "clipart-computer": "clipart-shapes",
    "clipart-recreation": "clipart-food",
    "family-lato": "family-sans",
}
"""Collections that share a tenth or more of the smaller one's images, by ``shared``: name -> the other.

Their tasks name that as their origin, so all of them are held out together; the next pair shares 8 %.
"""

DOMAINS = (
    _letters("domain-glyphs", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&@?!%", is_domain=True),
    Origin(
        "domain-sprites",
        ("widelands-data",),
        f"{WORKERS}/frisians",
        _same(
            "fisher builder berry_farmer scout brickmaker claydigger stonemason shipwright reindeer miner farmer "
            "brewer blacksmith forester charcoal_burner reed_farmer seamstress smoker trainer woodcutter beekeeper "
            "fruit_collector hunter diker landlady baker carrier ferry geologist smelter"
        ),
        "workers",
        is_domain=True,
    ),
    Origin(
        "domain-icons",
        ("openclipart-png",),
        f"{CLIPART}/computer/icons",
        _places(
            flat_action="flat-theme/action",
            flat_application="flat-theme/applications",
            flat_device="flat-theme/device",
            lemon_actions="lemon-theme/actions",
            lemon_apps="lemon-theme/apps",
            lemon_devices="lemon-theme/devices",
            lemon_filesystems="lemon-theme/filesystems",
            lemon_mimetypes="lemon-theme/mimetypes",
        ),
        is_domain=True,
    ),
)

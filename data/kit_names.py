"""What a model is, guessed from the words of its file name."""

from __future__ import annotations

import re

# The first pattern found in the lower-case name decides; "" means that composers have no use for it.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"bunk|pillow_|pillow$|curtain|mirror|towel|plate|fork|knife|spoon|frame|ceiling|chandelier|trash|box", ""),
    (r"bath|toilet|washing|column|door|window|shelf_small|shelf_[ab]_small|couch_l$|traffic|stage|destroyed", ""),
    (r"bed.*(double|king|queen)|(double|king|queen).*bed", "double_bed"),
    (r"bed_|bed$|single.?bed", "single_bed"),
    (r"night.?stand|bedside", "nightstand"),
    (r"wardrobe|closet", "wardrobe"),
    (r"fridge|refrigerator", "fridge"),
    (r"counter|kitchen_.*drawers", "counter"),
    (r"kitchen", ""),
    (r"book.?(shelf|case)|shelf_large|shelf_a_big|shelving", "bookshelf"),
    (r"shelf|book", ""),
    (r"tv.?(stand|cabinet)|television", "tv_cabinet"),
    (r"drawer|dresser|commode", "dresser"),
    (r"cabinet|sideboard", "sideboard"),
    (r"arm.?chair|couch_small", "armchair"),
    (r"sofa|couch|loveseat", "sofa"),
    (r"stool|ottoman|pouf", "stool"),
    (r"chair", "chair"),
    (r"(table|desk).*(lamp|light)|(lamp|light).*(table|desk)", "table_lamp"),
    (r"street.?(light|lamp)|lamp.?post", "street_lamp"),
    (r"lamp_standing|lamp_floor|floor.?lamp|light_floor|light_stand", "floor_lamp"),
    (r"side.?table|end.?table|table_small|table_roundsmall", "side_table"),
    (r"round.*table|table.*round", "round_table"),
    (r"(coffee|low).*table|table.*(coffee|low)", "coffee_table"),
    (r"desk", "desk"),
    (r"table", "dining_table"),
    (r"waterplant", ""),
    (r"plant|cactus|fern", "plant"),
    (r"rug|carpet", "rug"),
    (r"church|chapel", "church"),
    (r"sky.?scraper|high.?rise|building.*_(large|big)", "tower"),
    (r"car_|_car|sedan|hatchback|taxi", "car"),
    (r"conifer|pine_|pine$|spruce|fir_|fir$|tree_single_b$", "conifer"),
    (r"_cut|hill|mountain|trees_|gate", ""),
    (r"tree", "tree"),
    (r"fence.*straight|fence$", "fence"),
    (r"barn|stable|lumbermill", "barn"),
    (r"house|home|cottage|tavern|blacksmith", "house"),
    (r"building.*(withoutbase|small)", "block"),
)


def guessed_kind(name: str) -> str:
    """A kind of `data.kinds.KINDS` for a file name without its suffix, or "" when no word tells."""
    name = re.sub(r"[\s.-]+", "_", name.lower())
    return next((kind for words, kind in _WORDS if re.search(words, name)), "")

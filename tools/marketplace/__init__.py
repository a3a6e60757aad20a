"""A second-hand marketplace in a box: catalogue, sellers, searchers and their clicks.

draws         counter-based random numbers: the same item draws the same numbers in any chunk
catalogue_*   the category trees, brands and model lines (data only, one pair per language)
phrases_*     how people of one language write: attributes, chatter, aliases, typos (data)
language      the record that phrases_* fill in
world         leaves, SPUs (brand x model) with Zipf popularity, and which SPU each item is
listings      one item -> title, description, the category and attributes its seller filled in
queries       one item -> the queries that would find it, from head to specific
behaviour     clicks, contacts, purchases, noise, hold-out of queries and items
sequences     what users browse in a row, and the held-out item-to-item triggers
writer        JSONL files under a temporary name, renamed when all is written
"""

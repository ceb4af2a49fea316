"""One HTML page about a folder of the lab, without scripts and without anything from the network. To read in order:

1. html.py          elements, in which every text is escaped
2. findings.py      what the page shows, collected from the folder in bounded memory
3. differences.py   two texts, with what differs marked
4. figures.py       pictures as SVG
5. sections.py      the parts of the page
6. style.py         how it looks: at a desk, on a phone, in the dark, on paper
"""

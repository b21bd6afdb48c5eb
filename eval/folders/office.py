"""Write an office's folder: `python eval/folders/office.py FOLDER`.

A small bicycle maker's documents as offices write them: handbook, policies, contracts, price lists,
budgets, minutes, slides, mails, notes. Made up; needs the extra `dev`.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXTS = {
    "README.md": """# Shared folder of Tern & Hollis Bicycles

Whoever starts here reads `handbook.docx` first. Prices stand in `prices-2026.xlsx`, never in mails.
Old versions are moved to `archive/` at the end of a quarter.

## Who keeps what

| Folder | Keeper | Backup |
|---|---|---|
| finance | Ruth Okafor | weekly, Sunday 02:00 |
| workshop | Emil Brandt | none |
| sales | Lena Petrov | daily, 23:30 |
""",
    "it/vpn-howto.md": """# Working from outside: the VPN

The VPN server is `vpn.ternhollis.example`, port 51820, WireGuard.

## Setting it up

1. Ask Samir Haddad for a configuration file; it is made for one device.
2. Import it with *Add tunnel*.
3. Switch it on. The tray icon turns green.

A configuration expires after 180 days. Two days before that a mail reminds you.

## When it does not work

- *Handshake did not complete*: the clock of your computer is wrong by more than two minutes.
- No printer: printing is blocked over the VPN on purpose.
- Slow in the evening: the backup of the sales folder runs then.

```sh
wg show
sudo systemctl restart wg-quick@office
```
""",
    "it/passwords.txt": """Passwords and accounts

Passwords have at least 14 characters. They are never changed on a schedule, only after an incident.
The password manager is Bitwarden; the master password is not written down anywhere.

A locked account opens by itself after 20 minutes. Samir Haddad opens it at once: extension 311.

Second factors: a hardware key for finance and administrators, an app for everybody else. SMS is not
allowed.
""",
    "workshop/safety.html": """<html><head><title>Workshop safety</title></head><body>
<nav><ul><li><a href="a">Home</a></li><li><a href="b">Machines</a></li></ul></nav>
<h1>Workshop safety</h1><section><h2>Before you begin</h2>
<p>Safety glasses are worn from the yellow line on. Gloves are <b>not</b> worn at the lathe.</p>
<ul><li>Long hair is tied back.</li><li>Rings come off.<ul><li>Watches too.</li></ul></li></ul>
</section><section><h2>Machines</h2><table><tr><th>Machine</th><th>Speed limit</th>
<th>Training</th></tr><tr><td>Lathe L2</td><td>1,800 rpm</td><td>two days</td></tr>
<tr><td>Drill press</td><td>2,500 rpm</td><td>half a day</td></tr>
<tr><td>Brazing table</td><td>none</td><td>one week, with Emil Brandt</td></tr></table>
</section><section><h2>In an emergency</h2><p>The main switch is the red lever beside the paint
booth. The first aid box hangs at door 3; the defibrillator is in the canteen.</p>
<p>Assembly point is the car park of the bakery across the road.</p></section></body></html>""",
    "sales/dealers.csv": """Dealer;City;Discount;Contact;Since
Velo Nord;Hamburg;22%;Jana Kruse;2019
Cycles Perrin;Lyon;18%;Marc Perrin;2021
Two Wheels;Leeds;20%;Priya Nair;2020
Fietshuis;Utrecht;25%;Daan Visser;2015
Bici Roma;Rome;15%;Carla Neri;2024
""",
    "workshop/stock.tsv": """Part\tShelf\tOn hand\tReorder at
Bottom bracket BB-68\tC4\t112\t40
Fork crown FC-2\tA1\t18\t25
Brazing rod 2 mm\tB7\t340\t100
Headset HS-1\tC2\t64\t30
""",
    "mail/2026-02-11-paint-delay.eml": """From: Emil Brandt <emil@ternhollis.example>
To: Lena Petrov <lena@ternhollis.example>
Cc: Ruth Okafor <ruth@ternhollis.example>
Date: Wed, 11 Feb 2026 16:42:00 +0100
Subject: Paint booth is down until the 23rd
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Lena,

the compressor of the paint booth failed on Monday. The new one comes on 20 February, and we can
paint again on Monday the 23rd. Until then 34 frames wait.

Please tell Velo Nord that their order is two weeks late. Fietshuis gets the six frames that are
painted already.

Emil
""",
    "mail/2026-03-05-insurance.eml": """From: Ruth Okafor <ruth@ternhollis.example>
To: all@ternhollis.example
Date: Thu, 5 Mar 2026 09:10:00 +0100
Subject: New insurance from April
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8

<p>Dear all,</p><p>from 1 April our insurer is <b>Nordstern Mutual</b> in place of Albion.
The policy number is NM-448-2210.</p><p>Damage up to 500 EUR is settled by me; above that, send
photographs <i>before</i> anything is repaired. Bicycles on loan are covered for 30 days.</p>
<p>Ruth</p>""",
}

LETTERS = {
    "contracts/lease-letter.rtf": (
        "Lease of the hall at Dock Street 9",
        [
            "The lease runs from 1 July 2023 to 30 June 2031. It may be ended early on 30 June "
            "2028 with twelve months' notice.",
            "The rent is 6,400 EUR a month and rises by 2% every January.",
            "The landlord, Marlow Estates, keeps the roof and the gate in repair; everything else "
            "is the tenant's.",
            "A deposit of three months' rent lies at Harbour Bank.",
        ],
    ),
}

RECORDS = {
    "sales/warranty.json": {
        "frames": {"years": 10, "covers": "cracks and brazing", "not covered": "paint, crashes"},
        "parts": {"years": 2, "covers": "everything that is not worn by use"},
        "claims": [
            {"number": "W-2025-07", "dealer": "Two Wheels", "fault": "cracked fork crown",
             "settled": "new fork, 12 days"},
            {"number": "W-2025-11", "dealer": "Bici Roma", "fault": "peeling paint",
             "settled": "refused"},
            {"number": "W-2026-02", "dealer": "Velo Nord", "fault": "loose headset",
             "settled": "part sent, 3 days"},
        ],
    },
}  # fmt: skip

# Style and text; a list of lists is a table.
WORD: dict[str, tuple[str, list[tuple[str, Any]]]] = {
    "handbook.docx": (
        "Employee Handbook",
        [
            ("Heading 1", "Working hours"),
            (
                "Normal",
                "The week has 38 hours. Core time is from 10 to 15 o'clock; the workshop begins "
                "at 7. Overtime is taken as time off within three months, and paid in December.",
            ),
            ("Heading 1", "Leave"),
            ("Heading 2", "Holidays"),
            (
                "Normal",
                "Everybody has 29 days of holiday. After ten years there are two days more. Up "
                "to five days may be carried into the next year; they lapse on 31 March.",
            ),
            ("Heading 2", "Sick leave"),
            (
                "Normal",
                "Call before 8:30 on the first day: extension 300. A doctor's note is needed "
                "from the fourth day on.",
            ),
            ("Heading 2", "Parental leave"),
            ("Normal", "Ask seven weeks ahead, in writing, to Ruth Okafor."),
            ("Heading 1", "Pay"),
            ("List Bullet", "Wages are paid on the 25th."),
            ("List Bullet", "The Christmas bonus is 60% of a month's pay."),
            ("List Bullet", "Staff buy one bicycle a year at cost plus 10%."),
            ("Heading 1", "Equipment"),
            (
                "table",
                [
                    ["Item", "Replaced after", "Budget"],
                    ["Laptop", "4 years", "1,300 EUR"],
                    ["Phone", "3 years", "450 EUR"],
                    ["Work shoes", "1 year", "120 EUR"],
                ],
            ),
        ],
    ),
    "policies/travel.docx": (
        "Travel Policy",
        [
            ("Heading 1", "Booking"),
            (
                "Normal",
                "Trains come first; a flight needs the approval of Lena Petrov and a train "
                "journey longer than six hours. First class is for journeys above four hours.",
            ),
            ("Heading 1", "Allowances"),
            (
                "table",
                [
                    ["Country", "Day", "Night"],
                    ["Germany", "28 EUR", "20 EUR"],
                    ["France", "44 EUR", "25 EUR"],
                    ["United Kingdom", "52 EUR", "30 EUR"],
                ],
            ),
            ("Normal", "Own cars are paid with 0.34 EUR a kilometre."),
            ("Heading 1", "Afterwards"),
            (
                "Normal",
                "Receipts are handed in within 14 days. Later ones are paid only with a reason.",
            ),
        ],
    ),
    "contracts/steel-supply.docx": (
        "Supply Agreement: Steel Tubes",
        [
            ("Normal", "Between Tern & Hollis Bicycles and Castellani Tubi S.p.A., Brescia."),
            ("Heading 1", "Term and quantity"),
            (
                "Normal",
                "The agreement runs for three years from 1 January 2025. The buyer takes at "
                "least 4,000 kg a year and at most 7,500 kg.",
            ),
            ("Heading 1", "Price and payment"),
            (
                "Normal",
                "The price is 9.80 EUR a kilogram and is fixed until 31 December 2026. Invoices "
                "are due in 45 days; paid within 10 days, 2% is deducted.",
            ),
            ("Heading 1", "Delivery"),
            (
                "Normal",
                "Delivery is free to the hall, within 15 working days of an order. For each day "
                "of delay the seller owes 0.5% of the order, and no more than 8% of it.",
            ),
            ("Heading 1", "Law"),
            ("Normal", "Italian law applies; the courts of Milan decide."),
        ],
    ),
    "minutes/2026-01-19-board.docx": (
        "Minutes of the Board, 19 January 2026",
        [
            (
                "Normal",
                "Present: Agnes Hollis (chair), Piet Tern, Ruth Okafor. Excused: Lena Petrov.",
            ),
            ("Heading 1", "Decisions"),
            ("List Number", "The second brazing table is bought for at most 18,500 EUR."),
            ("List Number", "The model Heron is no longer made after June 2026."),
            ("List Number", "The Leeds fair is visited in 2026; the Milan fair is not."),
            ("Heading 1", "Discussion"),
            (
                "Normal",
                "Piet Tern asked for a third apprentice. It was put off until the figures of "
                "the first quarter are there.",
            ),
            ("Normal", "Next meeting: 20 April 2026, 14:00, in the canteen."),
        ],
    ),
}

PAPERS: dict[str, tuple[str, list[tuple[str, Any]]]] = {
    "annual-report-2025.pdf": (
        "Annual Report 2025",
        [
            ("h", "To our owners"),
            (
                "p",
                "In 2025 we built 1,840 bicycles, 210 more than the year before. Revenue rose to "
                "4.62 million EUR. Profit after tax was 318,000 EUR.",
            ),
            ("h", "People"),
            (
                "p",
                "At the end of the year 31 people worked for us, five of them apprentices. Two "
                "retired: Otto Lind and Maria Feld.",
            ),
            ("h", "Sales by country"),
            (
                "t",
                [
                    ["Country", "Bicycles", "Share"],
                    ["Germany", "702", "38%"],
                    ["Netherlands", "515", "28%"],
                    ["United Kingdom", "331", "18%"],
                    ["France", "202", "11%"],
                    ["Italy", "90", "5%"],
                ],
            ),
            ("h", "Outlook"),
            (
                "p",
                "We expect 1,950 bicycles in 2026. The largest risk is the price of steel after "
                "the end of 2026, when the fixed price ends.",
            ),
        ],
    ),
    "workshop/lathe-manual.pdf": (
        "Lathe L2: Operating Manual",
        [
            ("h", "1 Daily checks"),
            (
                "p",
                "Check the oil level in the sight glass. It stands between the two marks when the "
                "machine is cold. Use oil ISO VG 32 only.",
            ),
            ("h", "2 Chuck"),
            (
                "p",
                "Tighten the chuck with the key and take the key out before you let go of it. The "
                "spring pushes it out for that reason.",
            ),
            ("h", "3 Faults"),
            (
                "t",
                [
                    ["Code", "Meaning", "What to do"],
                    ["E04", "Door open", "Close the guard"],
                    ["E11", "Motor too hot", "Wait 30 minutes"],
                    ["E17", "Belt slips", "Tighten to 90 N"],
                ],
            ),
            ("h", "4 Maintenance"),
            (
                "p",
                "The belt is replaced every 2,000 hours, the oil every 500 hours. The spindle "
                "bearings are greased by the maker's engineers alone.",
            ),
        ],
    ),
}

SLIDES = {
    "sales/spring-fair.pptx": ("Spring fair in Leeds", [
        ("What we show", ["Kestrel, in moss green", "Plover with hub gears", "No Heron"], ""),
        ("Stand", ["Hall 4, stand B12", "24 square metres", "Built up on 8 May from 12 o'clock"],
         "The forklift has to be ordered by 17 April."),
        ("Who is there", ["Lena Petrov all four days", "Emil Brandt on Saturday",
                          "Priya Nair of Two Wheels helps on Sunday"], ""),
        ("Goals", ["Six new dealers", "40 test rides a day"],
         "Last year it was four dealers and 27 rides."),
    ]),
    "it/onboarding.pptx": ("IT for newcomers", [
        ("Your first day", ["The laptop is ready at Samir Haddad's desk",
                            "Printer code is your staff number"], ""),
        ("Where things are", ["Files: drive T", "Chat: Mattermost", "Holidays: the tool Absento"],
         "Absento opens only inside the office network."),
    ]),
}  # fmt: skip

day = datetime.date
SHEETS: dict[str, dict[str, list[list[Any]]]] = {
    "prices-2026.xlsx": {
        "Bicycles": [["Price list, valid from 1 March 2026"], [],
                     ["Model", "Frame", "Gears", "Retail price", "Dealer price", "Weight (kg)"],
                     ["Kestrel", "Steel, lugged", "2 x 11", 2890, 2110, 9.8],
                     ["Plover", "Steel, fillet brazed", "8, hub", 2150, 1570, 12.4],
                     ["Heron", "Steel, lugged", "3 x 8", 1790, 1310, 11.9],
                     ["Wren (children)", "Steel", "7", 690, 520, 9.1]],
        "Options": [["Option", "Price"], ["Dynamo and lights", 240], ["Mudguards", 85],
                    ["Colour of your own", 180], ["Front rack", 110]],
    },
    "finance/budget-2026.xlsx": {
        "Budget": [["Department", "Budget", "Spent", "Share spent"],
                   ["Workshop", 412000, 96820, 0.235], ["Sales", 158000, 47400, 0.3],
                   ["IT", 64000, 8960, 0.14], ["Office", 39500, 11060, 0.28]],
        "Investments": [["What", "Approved", "Amount", "Due"],
                        ["Brazing table", "board, January", 18500, day(2026, 5, 15)],
                        ["Compressor", "Ruth Okafor", 7250, day(2026, 2, 20)],
                        ["Delivery van", "open", 34000, day(2026, 9, 1)]],
    },
    "hr/training.xlsx": {
        "Courses": [["Course", "Teacher", "Date", "Places"],
                    ["First aid", "Red Cross", day(2026, 4, 14), 12],
                    ["Forklift", "Emil Brandt", day(2026, 3, 24), 4],
                    ["Brazing II", "Emil Brandt", day(2026, 6, 9), 3],
                    ["Dealing with dealers", "Lena Petrov", day(2026, 5, 5), 8]],
    },
}  # fmt: skip
_MONEY = ("price", "budget", "spent", "amount")


def _word(path: Path, title: str, parts: Sequence[tuple[str, Any]]) -> None:
    import docx

    made = docx.Document()
    made.core_properties.title = title
    made.add_heading(title, 0)
    for style, said in parts:
        if style == "table":
            table = made.add_table(rows=0, cols=len(said[0]))
            for row in said:
                for cell, text in zip(table.add_row().cells, row, strict=True):
                    cell.text = text
        else:
            made.add_paragraph(said, style=style)
    made.save(str(path))


def _paper(path: Path, title: str, parts: Sequence[tuple[str, Any]]) -> None:
    from fpdf import FPDF

    made = FPDF()
    made.add_page()
    made.set_font("Helvetica", size=20)
    made.cell(text=title, new_x="LMARGIN", new_y="NEXT")
    for kind, said in parts:
        made.set_font("Helvetica", size=14 if kind == "h" else 11)
        made.ln(4)
        if kind == "t":
            for row in said:
                for cell in row:
                    made.cell(w=55, h=7, text=cell)
                made.ln()
        else:
            made.multi_cell(0, text=said, new_x="LMARGIN", new_y="NEXT")
    made.output(str(path))


def _sheet(path: Path, sheets: dict[str, list[list[Any]]]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        heads = next(row for row in rows if len(row) > 1)
        for cells in sheet.iter_rows(min_row=2):
            for cell, head in zip(cells, heads, strict=False):
                if isinstance(cell.value, int) and any(m in head.lower() for m in _MONEY):
                    cell.number_format = '#,##0 "EUR"'
                elif head == "Share spent":
                    cell.number_format = "0.0%"
    book.save(path)


def _slides(path: Path, title: str, slides: Sequence[tuple[str, list[str], str]]) -> None:
    import pptx

    made = pptx.Presentation()
    made.core_properties.title = title
    for head, points, notes in slides:
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text = head
        slide.placeholders[1].text_frame.text = "\n".join(points)
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    made.save(str(path))


def _letter(title: str, paragraphs: Sequence[str]) -> str:
    body = "".join(f"{said}\\par\n" for said in paragraphs)
    return (
        f"{{\\rtf1\\ansi\\ansicpg1252{{\\info{{\\title {title}}}}}\n\\b {title}\\b0\\par\n{body}}}"
    )


def main() -> None:
    """Write all of it."""
    home = Path(sys.argv[1])
    texts = {
        **TEXTS,
        **{name: _letter(*said) for name, said in LETTERS.items()},
        **{name: json.dumps(said, indent=1) for name, said in RECORDS.items()},
    }
    for name in (*texts, *WORD, *PAPERS, *SLIDES, *SHEETS):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
    for name, said in texts.items():
        (home / name).write_text(said, encoding="utf-8")
    for name, (title, parts) in WORD.items():
        _word(home / name, title, parts)
    for name, (title, parts) in PAPERS.items():
        _paper(home / name, title, parts)
    for name, (title, slides) in SLIDES.items():
        _slides(home / name, title, slides)
    for name, sheets in SHEETS.items():
        _sheet(home / name, sheets)


if __name__ == "__main__":
    main()

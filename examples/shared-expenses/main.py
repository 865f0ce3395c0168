"""Shared expenses, one object per group: who paid what for whom, who owes how much, and how to settle it.

Amounts are whole cents, so nothing is ever lost to rounding: what cannot be divided evenly goes to the first of those
who share.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from holdfast import BadRequest, Context, DurableObject, Request, Response

TABLES = """
CREATE TABLE IF NOT EXISTS expense (
    id INTEGER PRIMARY KEY,
    what TEXT NOT NULL,
    payer TEXT NOT NULL,
    cents INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS share (
    expense INTEGER NOT NULL REFERENCES expense ON DELETE CASCADE,
    person TEXT NOT NULL,
    cents INTEGER NOT NULL,
    PRIMARY KEY (expense, person)
) WITHOUT ROWID;
"""

BALANCES = """
SELECT person, sum(cents) AS cents FROM (
    SELECT payer AS person, cents FROM expense UNION ALL SELECT person, -cents FROM share
) GROUP BY person ORDER BY person
"""


class SharedExpenses(DurableObject):
    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        ctx.sql.execute(TABLES)

    def fetch(self, request: Request) -> Response:
        match request.method, request.segments:
            case "GET", ("expenses",):
                return self.list()
            case "POST", ("expenses",):
                return self.add(request)
            case "DELETE", ("expenses", number):
                return self.remove(number)
            case "GET", ("balances",):
                return Response.json({person: euros(cents) for person, cents in self.balances().items()})
            case "GET", ("settlement",):
                return Response.json([payment.as_dict() for payment in settle(self.balances())])
        return Response.error(404, f"there is no {request.method} {request.path}")

    def list(self) -> Response:
        rows = self.ctx.sql.execute("SELECT id, what, payer, cents FROM expense ORDER BY id")
        return Response.json(
            [{"id": id, "what": what, "payer": payer, "amount": euros(cents)} for id, what, payer, cents in rows]
        )

    def add(self, request: Request) -> Response:
        try:
            draft = Draft.of_json(request.json())
        except BadRequest as bad:
            return bad.response()
        sql = self.ctx.sql
        added = sql.execute(
            "INSERT INTO expense (what, payer, cents) VALUES (?, ?, ?)", draft.what, draft.payer, draft.cents
        )
        number = added.last_insert_rowid
        for person, cents in divide(draft.cents, draft.people).items():
            sql.execute("INSERT INTO share (expense, person, cents) VALUES (?, ?, ?)", number, person, cents)
        location = f"{request.prefix}/expenses/{number}"
        return Response.json({"id": number}, status=201, headers={"location": location})

    def remove(self, number: str) -> Response:
        if self.ctx.sql.execute("DELETE FROM expense WHERE id = ?", number).changes == 0:
            return Response.error(404, f"there is no expense {number}")
        return Response(status=204)

    def balances(self) -> dict[str, int]:
        """Returns what each person has paid more than used, in cents; the sum is 0."""
        return {row["person"]: row["cents"] for row in self.ctx.sql.execute(BALANCES)}


@dataclass
class Draft:
    """The body of a request."""

    what: str
    payer: str
    cents: int
    people: list[str]

    @classmethod
    def of_json(cls, json: Any) -> "Draft":
        match json:
            case {"what": str(what), "payer": str(payer), "amount": str(amount), "for": [_, *_] as people}:
                if not all(isinstance(person, str) for person in people):
                    raise BadRequest("`for` is a list of names")
                if not re.fullmatch(r"\d{1,9}\.\d\d", amount):
                    raise BadRequest('`amount` is euros and cents, for example "12.50"')
                return cls(what, payer, int(Decimal(amount) * 100), sorted(set(people)))
        raise BadRequest("an expense is `what`, `payer`, `amount` and `for`, a list of names")


@dataclass
class Payment:
    payer: str
    payee: str
    cents: int

    def as_dict(self) -> dict[str, str]:
        return {"from": self.payer, "to": self.payee, "amount": euros(self.cents)}


def divide(cents: int, people: list[str]) -> dict[str, int]:
    """Returns shares that differ by one cent at most."""
    each, rest = divmod(cents, len(people))
    return {person: each + (place < rest) for place, person in enumerate(people)}


def settle(balances: dict[str, int]) -> list[Payment]:
    """Returns payments that settle all debts: fewer than people. The largest debtor pays the largest creditor."""
    left = dict(balances)
    payments = []
    while any(left.values()):
        payer, payee = min(left, key=left.__getitem__), max(left, key=left.__getitem__)
        cents = min(-left[payer], left[payee])
        left[payer] += cents
        left[payee] -= cents
        payments.append(Payment(payer, payee, cents))
    return payments


def euros(cents: int) -> str:
    return f"{Decimal(cents) / 100:.2f}"

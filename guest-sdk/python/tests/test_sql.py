"""Statements, their parameters, and rows."""

import enum
import unittest

from tests import fake_host

fake_host.install()

from holdfast import IntegrityError, Sql, SqlError  # noqa: E402


class SqlTests(unittest.TestCase):
    def setUp(self) -> None:
        self.host = fake_host.reset()
        self.sql = Sql()

    def test_values_come_back_as_they_were(self) -> None:
        values = (None, 0, -(2**63), 2**63 - 1, 2**53 + 1, 1.5, float("inf"), "", "aä\0😀", b"", b"\0\xff")
        row = self.sql.execute("SELECT " + ", ".join("?" * len(values)), *values).one()
        self.assertEqual(row, values)
        self.assertEqual([*map(type, row)], [*map(type, values)])

    def test_parameters_of_other_types(self) -> None:
        class Colour(enum.IntEnum):
            RED = 3

        row = self.sql.execute("SELECT ?, ?, ?, ?", True, Colour.RED, bytearray(b"a"), memoryview(b"b")).one()
        self.assertEqual(row, (1, 3, b"a", b"b"))
        with self.assertRaises(TypeError):
            self.sql.execute("SELECT ?", [1])  # type: ignore[arg-type]
        for number in (2**63, -(2**63) - 1):
            with self.assertRaises(OverflowError):
                self.sql.execute("SELECT ?", number)
        with self.assertRaises(UnicodeEncodeError):
            self.sql.execute("SELECT ?", "\ud800")

    def test_a_row_is_a_tuple_with_names(self) -> None:
        cursor = self.sql.execute("SELECT 7 AS id, 'tea' AS title, 8 AS id")
        self.assertEqual(cursor.columns, ("id", "title", "id"))
        row = cursor.one()
        number, title, _ = row
        self.assertEqual(
            (number, title, row["title"], row["id"], row[-1], row[:2]), (7, "tea", "tea", 8, 8, (7, "tea"))
        )
        self.assertEqual(dict(row), {"id": 8, "title": "tea"})
        with self.assertRaises(KeyError):
            row["price"]

    def test_results_are_read_in_batches(self) -> None:
        count = "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 600) SELECT i, 'x' FROM c"
        self.assertEqual([row[0] for row in self.sql.execute(count)], list(range(1, 601)))
        self.assertEqual(self.host.batches, [256] * 4)
        cursor = self.sql.execute(count)
        self.assertEqual((next(cursor), cursor.fetchone()), ((1, "x"), (2, "x")))
        self.assertEqual(len(cursor.fetchall()), 598)
        self.assertIsNone(cursor.fetchone())

    def test_one_is_one(self) -> None:
        with self.assertRaisesRegex(LookupError, "no row"):
            self.sql.execute("SELECT 1 WHERE 0").one()
        with self.assertRaisesRegex(LookupError, "more than one row"):
            self.sql.execute("SELECT 1 UNION SELECT 2").one()

    def test_what_a_statement_did(self) -> None:
        created = self.sql.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
        self.assertEqual((created.columns, created.fetchall()), ((), []))
        inserted = self.sql.execute("INSERT INTO t VALUES (5), (6)")
        self.assertEqual((inserted.changes, inserted.last_insert_rowid), (2, 6))

    def test_refusals(self) -> None:
        with self.assertRaises(SqlError) as refused:
            self.sql.execute("SELECT FROM")
        self.assertEqual((refused.exception.case, refused.exception.sqlite_code), ("sqlite", 1))
        self.assertNotIsInstance(refused.exception, IntegrityError)
        self.sql.execute("CREATE TABLE t (a UNIQUE)")
        self.sql.execute("INSERT INTO t VALUES (1)")
        with self.assertRaises(IntegrityError) as violated:
            self.sql.execute("INSERT INTO t VALUES (1)")
        self.assertEqual((violated.exception.case, violated.exception.sqlite_code), ("constraint", 2067))
        self.assertEqual(str(violated.exception), "UNIQUE constraint failed: t.a")


if __name__ == "__main__":
    unittest.main()

"""Keys with values, and transactions."""

import unittest

from tests import fake_host

fake_host.install()

from holdfast import Storage, StorageError  # noqa: E402


class StorageTests(unittest.TestCase):
    def setUp(self) -> None:
        self.host = fake_host.reset()
        self.storage = Storage()

    def test_values_come_back_as_they_were(self) -> None:
        for value in (None, True, 0, -(2**70), 1.5, "", "häß\0", [], {"a": [1, {"b": None}]}):
            self.storage.put("k", value)
            read = self.storage.get("k", "absent")
            self.assertEqual((read, type(read)), (value, type(value)))

    def test_the_encoding_is_pinned(self) -> None:
        # Objects written today must always be readable: these bytes may not change.
        self.storage["k"] = {"text": "hä", "n": [1, 2.5, None, True]}
        self.assertEqual(self.host.keys["k"], '{"text":"hä","n":[1,2.5,null,true]}'.encode())

    def test_what_json_cannot_say_is_refused_before_the_host_is_asked(self) -> None:
        for value in (b"bytes", {1, 2}, float("nan"), object()):
            with self.assertRaises((TypeError, ValueError)):
                self.storage.put("k", value)
        self.assertEqual(self.host.keys, {})

    def test_what_is_not_one_json_value_is_no_value(self) -> None:
        for stored in (b"", b"1 2", b"\xff", b"{"):
            self.storage.put_bytes("k", stored)
            with self.assertRaises(ValueError, msg=stored):
                self.storage.get("k")

    def test_a_dict_as_far_as_it_goes(self) -> None:
        self.assertEqual(self.storage.get("k", 7), 7)
        self.assertNotIn("k", self.storage)
        with self.assertRaises(KeyError):
            self.storage["k"]
        with self.assertRaises(KeyError):
            del self.storage["k"]
        self.storage["k"] = None
        self.assertIn("k", self.storage)
        self.assertIsNone(self.storage["k"])
        self.assertEqual(list(self.storage), ["k"])
        del self.storage["k"]
        self.assertEqual(self.host.keys, {})

    def test_many(self) -> None:
        self.storage.put_many({"b": 1, "a": [2]})
        self.assertEqual(self.storage.get_many(key for key in "abc"), {"a": [2], "b": 1})
        self.assertEqual(self.storage.get_many_bytes(["b"]), {"b": b"1"})
        self.assertEqual(self.storage.delete_many(["a", "b", "c"]), 2)

    def test_lists_are_read_in_batches(self) -> None:
        self.storage.put_many({f"k{n:04}": n for n in range(600)})
        self.assertEqual([value for _, value in self.storage.list()], list(range(600)))
        self.assertEqual(self.host.batches, [256] * 4)
        listed = self.storage.list(prefix="k", start_after="k0001", end="k0005", reverse=True, limit=2)
        self.assertEqual(list(listed), [("k0004", 4), ("k0003", 3)])
        self.assertEqual(next(self.storage.list_bytes(start="k0599")), ("k0599", b"599"))

    def test_refusals_are_errors_of_the_call(self) -> None:
        with self.assertRaises(StorageError) as refused:
            self.storage.list(start="a", start_after="b")
        self.assertEqual(refused.exception.case, "bad-range")
        with self.assertRaises(StorageError) as refused:
            self.storage.put("", 1)
        self.assertEqual((refused.exception.case, refused.exception.value), ("key-size", 0))
        self.assertEqual(str(refused.exception), "a key of 0 bytes: keys are 1 to 2,048 bytes long")
        self.assertIsNone(refused.exception.__cause__)

    def test_half_a_surrogate_pair_does_not_reach_the_host(self) -> None:
        for call in (self.storage.get, self.storage.delete, lambda key: self.storage.put_many({key: 1})):
            with self.assertRaises(UnicodeEncodeError):
                call("\ud800")

    def test_what_is_no_bytes_and_no_number_does_not_reach_the_host(self) -> None:
        self.storage.put_bytes("k", bytearray(b"x"))  # type: ignore[arg-type]
        self.storage.put_many_bytes({"l": memoryview(b"y")})  # type: ignore[dict-item]
        self.assertEqual([*map(type, self.host.keys.values())], [bytes, bytes])
        for no_bytes in (5, "text", None):
            with self.assertRaises(TypeError):
                self.storage.put_bytes("k", no_bytes)  # type: ignore[arg-type]
        for error, limit in ((OverflowError, -1), (OverflowError, 2**32), (TypeError, "5")):
            with self.assertRaises(error):
                self.storage.list(limit=limit)  # type: ignore[arg-type]

    def test_a_transaction_counts_as_a_whole_or_not_at_all(self) -> None:
        with self.storage.transaction():
            self.storage["kept"] = 1
            with self.assertRaises(ZeroDivisionError), self.storage.transaction():
                self.storage["undone"] = 1 / 0 if "kept" in self.storage else None
            self.storage["also kept"] = 2
        self.assertEqual(list(self.storage), ["also kept", "kept"])
        self.assertEqual(self.host.savepoints, [])

    def test_what_concerns_the_whole_turn_is_refused_inside(self) -> None:
        with self.storage.transaction():
            for call in (self.storage.sync, self.storage.delete_all):
                with self.assertRaises(StorageError) as refused:
                    call()
                self.assertEqual(refused.exception.case, "savepoint-open")
        self.storage["k"] = 1
        self.assertEqual(self.storage.size(), 4096)
        self.storage.delete_all()
        self.assertEqual(self.storage.size(), 0)


if __name__ == "__main__":
    unittest.main()

"""Requests and responses."""

import unittest

from tests import fake_host

fake_host.install()

from holdfast import BadRequest, Headers, Request, Response  # noqa: E402


class RequestTests(unittest.TestCase):
    def test_paths_in_pieces(self) -> None:
        for uri, segments in {
            "/": (),
            "/?a=/b": (),
            "/a/": ("a", ""),
            "/books/War%20%2F%20Peace?x": ("books", "War / Peace"),
            "//": ("", ""),
        }.items():
            self.assertEqual(Request("GET", uri).segments, segments, uri)

    def test_queries(self) -> None:
        request = Request("GET", "/list?tag=a&from=20&tag=b&empty=&word=t%C3%A9+a")
        self.assertEqual(request.query, {"tag": "a", "from": "20", "empty": "", "word": "té a"})
        self.assertEqual([value for name, value in request.query_items if name == "tag"], ["a", "b"])
        self.assertEqual(request.path, "/list")

    def test_bodies(self) -> None:
        request = Request("POST", body='{"a": "ä"}'.encode())
        self.assertEqual((request.text(), request.json()), ('{"a": "ä"}', {"a": "ä"}))
        for body in (b"\xff", b"what?", b""):
            with self.assertRaises(BadRequest) as bad:
                Request("POST", body=body).json()
            self.assertEqual(bad.exception.response().status, 400)

    def test_headers_by_name_in_any_case(self) -> None:
        headers = Headers([("Accept", "a"), ("x-A", "\xff"), ("ACCEPT", "b")])
        self.assertEqual(headers.raw, [("accept", b"a"), ("x-a", b"\xff"), ("accept", b"b")])
        self.assertEqual((headers["aCCept"], headers.get_all("accept"), headers.get("b")), ("a, b", ["a", "b"], None))
        self.assertEqual((dict(headers), len(headers)), ({"accept": "a, b", "x-a": "\xff"}, 2))
        headers["accept"] = "c"
        del headers["X-A"]
        self.assertEqual(headers.raw, [("accept", b"c")])
        self.assertNotIn("x-a", headers)
        with self.assertRaises(KeyError):
            headers["x-a"]

    def test_the_way_to_the_object(self) -> None:
        self.assertEqual(Request("GET").prefix, "")
        self.assertEqual(Request("GET", "/7", {"X-Forwarded-Prefix": "/notes/ann"}).prefix, "/notes/ann")


class ResponseTests(unittest.TestCase):
    def test_content_types(self) -> None:
        for response, kind in (
            (Response("x"), "text/plain; charset=utf-8"),
            (Response(b"x"), "application/octet-stream"),
            (Response("x", headers={"Content-Type": "a/b"}), "a/b"),
            (Response(), None),
            (Response.json([1]), "application/json"),
            (Response.html("<p>"), "text/html; charset=utf-8"),
        ):
            self.assertEqual(response.headers.get("content-type"), kind)

    def test_errors_look_like_the_hosts(self) -> None:
        response = Response.error(404, "there is no note 7")
        self.assertEqual(response.body, b'{"title":"Not Found","status":404,"detail":"there is no note 7"}')
        self.assertEqual((response.status, response.headers["content-type"]), (404, "application/problem+json"))
        self.assertEqual(Response.error(599, "x").body, b'{"title":"Error","status":599,"detail":"x"}')

    def test_redirects(self) -> None:
        self.assertEqual((Response.redirect("/a").status, Response.redirect("/a").headers["location"]), (303, "/a"))


if __name__ == "__main__":
    unittest.main()

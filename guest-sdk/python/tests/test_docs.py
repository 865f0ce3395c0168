"""The examples in docstrings are Python, as they stand."""

import ast
import re
import textwrap
import unittest
from pathlib import Path

import holdfast

EXAMPLE = re.compile(r"```python\n(.*?)\n *```", re.DOTALL)


class Docs(unittest.TestCase):
    def test_every_example_is_python(self) -> None:
        found = 0
        for module in sorted(Path(holdfast.__file__).parent.glob("*.py")):
            for example in EXAMPLE.findall(module.read_text()):
                found += 1
                with self.subTest(module=module.name, example=example):
                    # In a function, because some return.
                    ast.parse("def example():\n" + textwrap.indent(textwrap.dedent(example), "    "))
        self.assertGreater(found, 5)

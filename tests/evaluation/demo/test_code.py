from ream.evaluation.demo import code


def test_identifiers_are_those_of_the_code():
    source = "class Box:\n    def put(self, item_name, ab, Count, size):\n        pass\n"
    assert list(code._parameters(source)) == ["item_name", "size"]

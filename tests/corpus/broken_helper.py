# expect: nothing
def f(:
    pass

"""A support line over SQLite: a shop's orders, refunds, policies, and a person to hand over to.

`python -m stretto.demo.call_center` answers; README.md here shows how a team puts its own tools in.
"""

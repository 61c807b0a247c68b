"""A drive that is made up: a road, cars with a will of their own, and what a camera in one more car sees of them.

It stands in for logs of nuPlan where these cannot be had, and nothing that is learned from it is a result on nuPlan.
"""

"""Below the routes: what a connection may cost, what every request is checked for, its log line.

May import the application's settings and errors, and is imported by `server.app` and `cli.serve`.
"""

"""The page of the viewer and its server, on top of viser.

* `access.py`: which requests are answered (host names, origins, the token).
* `binding.py`: the address and the port that a server listens at.
* `messages.py`: which messages of a page are accepted, and how many.
* `server.py`: viser's server with these rules, whose pictures are acknowledged by the browser.

The files of this folder import viser when they are loaded, so other folders import them only inside functions.
"""

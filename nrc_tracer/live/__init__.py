"""Interactive viewing: a session draws pictures of a scene, or of a task in training, for clients that move their cameras.

* `View` (view.py) is what a client wants to see: camera, size, mode, exposure, tone operator and layer.
* `Picture` (picture.py) is what it receives: 8-bit pixels, the time per stage, and statistics with units.
* `World` (world.py) is what a session draws: a scene with its renderer and cache, an image, or a task in training.
* `Session` (session.py) decides what is drawn next, for which client, at which size, and how long training may take in between.
  It owns the only thread that draws. A server calls `look`, `forget`, `acknowledge`, `edit` and `ask` from any thread, and
  implements `Listener` to receive pictures.

A server in outline:

    class Server:  # a Listener, called on the session's thread; its methods must not block
        def show(self, client, number, picture): ...  # encode and send; call `acknowledge` when the client has received it
        def fail(self, client, message): ...          # show the message; the session continues

    with Session(world, Server()) as session:         # starts the thread
        session.look("a", world.start)                # a client appears, or changes its view
        session.acknowledge("a", number)              # it has received picture `number`, and gets the next one
        session.edit(edit)                            # change the world before the next frame
        session.ask(lambda world: ...).result()       # run any function between two frames, such as saving a file
        session.forget("a")                           # it has gone
"""

"""The processes that serve requests: gunicorn with a worker class of our own, and the admin port.

The worker overrides methods of gunicorn's threaded worker (`gunicorn.workers.gthread`) that gunicorn does not document
as extension points. The tables list all of them, and what the overrides rely on. pyproject.toml bounds gunicorn to
the major version that was tried, and tests/unit/chassis/server/test_internals.py fails when one of them changes.

    Overridden                                  Where, and what we change
    ------------------------------------------  -----------------------------------------------------------------------
    ThreadWorker.__init__                       worker.py: adds the collections of connections
    ThreadWorker.accept                         worker.py: the event loop receives the request; no thread waits for it
    ThreadWorker.on_client_socket_readable      worker.py: the same for the next request of an idle connection
    ThreadWorker.handle_request                 worker.py: an incomplete request is the last of its connection
    ThreadWorker.finish_request                 worker.py: the event loop sends what is left of the response first
    ThreadWorker.murder_pending                 worker.py: closes the connections of our collections that timed out
    ThreadWorker.murder_keepalived              worker.py: does not close an idle connection on which a request has
                                                arrived. Relied on: only idle connections are in keepalived_conns, and
                                                the longest idle one is the first
    ThreadWorker.set_accept_enabled             balance.py: accepts only while no other worker has fewer connections
    ThreadWorker.wait_for_and_dispatch_events   balance.py: publishes this worker's number of connections each round
    TConn.__init__                              connection.py: counts the connections of each client address. Relied on:
                                                makes the socket non-blocking; attributes sock, client, timeout, parser
    TConn.close                                 connection.py: stops counting the connection. Relied on: closes the
                                                socket at once
    SocketUnreader.__init__                     received.py: keeps the bytes that the event loop has received
    SocketUnreader.chunk                        received.py: reads from these bytes, then from the socket with recv
    Unreader.take_buffered                      received.py: returns the bytes after a request, and forgets them
    Response.default_headers                    response.py: leaves out the Server header
    Worker.handle_error                         worker.py: responds with problem+json, and quotes nothing of the request

    Relied on                                   For what
    ------------------------------------------  -----------------------------------------------------------------------
    ThreadWorker.run                            each round, at least once a second: calls set_accept_enabled,
                                                wait_for_and_dispatch_events, murder_pending; drains while nr_conns > 0
    ThreadWorker.init_process                   creates poller and tpool after the fork
    ThreadWorker.enqueue_req                    runs handle in a thread, then finish_request in the event loop
    ThreadWorker.handle                         does not wait for data of an initialized connection; passes the parser's
                                                errors to handle_error
    ThreadWorker._keepalive_after               reads what the application left of the body, which is in the buffer
    TConn.init                                  makes the socket blocking and creates the parser
    TConn.set_timeout                           the deadline of an idle connection
    Parser.__init__                             wraps the socket in an unreader, its attribute unreader
    Parser.__next__                             parses the next request from the unreader
    Parser.finish_body                          without arguments: reads up to the end of the request, and leaves the
                                                next one in the unreader
    Unreader.read                               calls chunk only when nothing is buffered, or less than is wanted
    Unreader.unread                             keeps what the parser puts back in front of the next piece
    Message.force_close                         makes should_close true
    Message.should_close                        makes the response end with Connection: close
    wsgi.create                                 makes a wsgi.Response, which worker.py replaces by its own
    Response.send_headers                       writes through util.write
    Response.write                              writes through util.write
    util.write                                  uses sendall only, which BufferedSocket replaces
    util.write_chunk                            uses sendall only
    util.close                                  ignores errors of the socket
    http.errors                                 the exceptions that rejections.py maps to problems

gunicorn documents the hooks and settings in gunicorn_conf.py, and Python's http.server the methods that admin.py
overrides. What chassis.http overrides in Flask and Werkzeug is in chassis/http/application.py and answers.py.
"""

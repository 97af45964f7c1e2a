"""A guest book: GET / lists the guests, POST / adds one, the cache keeps the list."""

import http.server
import os
import socket

import psycopg2
import redis

cache = redis.Redis(os.environ["CACHE"])
database = psycopg2.connect(host=os.environ["DATABASE"], user="postgres", dbname="postgres")
database.autocommit = True


class Book(http.server.BaseHTTPRequestHandler):
    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-By", socket.gethostname())
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        guests = cache.get("guests")
        if guests is None:
            with database.cursor() as cursor:
                cursor.execute("select name from guests order by id")
                guests = ",".join(row[0] for row in cursor).encode()
            cache.set("guests", guests)
        self.answer(f"{os.environ['GREETING']} {guests.decode()}\n")

    def do_POST(self):
        name = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with database.cursor() as cursor:
            cursor.execute("insert into guests (name) values (%s)", (name,))
        cache.delete("guests")
        self.answer("noted\n")


with database.cursor() as cursor:
    cursor.execute("create table if not exists guests (id serial primary key, name text)")
print("serving", flush=True)
http.server.ThreadingHTTPServer(("", 8000), Book).serve_forever()

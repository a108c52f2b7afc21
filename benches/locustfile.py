"""The user that Locust runs in benches/compare.sh: its fast client, no waiting, one request over and over."""

from locust import FastHttpUser, constant, task


class Reader(FastHttpUser):
    wait_time = constant(0)

    @task
    def get(self):
        with self.client.get("/", catch_response=True) as response:
            if response.headers.get("x-squall-instance") != "bench-1":
                response.failure("no instance header")

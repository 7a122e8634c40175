"""The Anomalies page: one FastAPI app for people, and a JSON API beside it.

In: requests of people who are logged in, here or in Airflow. Out: pages made on the server, which need no
script, and the same answers as JSON. An entry point like cli.py: it calls the steps, and knows no store.
"""

from pipeline.web.app import application
from pipeline.web.keeper import Keeper
from pipeline.web.people import Person

__all__ = ["Keeper", "Person", "application"]

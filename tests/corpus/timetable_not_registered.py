# expect: serialization-error
# airflow dag
from datetime import datetime

from airflow.timetables.simple import NullTimetable
from portable import DAG, EmptyOperator


class Lunar(NullTimetable):
    pass


with DAG("timetable_not_registered", start_date=datetime(2024, 1, 1), schedule=Lunar()):
    EmptyOperator(task_id="only")

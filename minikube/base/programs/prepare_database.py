"""Makes and migrates Airflow's metadata database, and the admin user of its page.

It runs before each start of a scheduler and ends after one query when the database is already that of this
release. Otherwise Airflow's own migration runs, under a lock, in this one process. Nothing is ever dropped: an
older release than the one that made the schema is refused.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import Any, Iterator

from admin_user import AdminUser, admin_user
from metadata_database import (
    NotReady,
    as_numbers,
    connection_url,
    installed_release,
    is_postgres,
    note_release,
    noted_release,
    say,
    wait_for_connection,
)

_LOCK = 0x646576656E76
"""Of Postgres' advisory locks, the one that two schedulers starting at once share."""


class Refused(Exception):
    """Going on could lose data."""


def has_user_table(release: str) -> bool:
    """Whether the page's users live in the database: Flask-AppBuilder's do, 3.x's simple auth manager has none."""
    return as_numbers(release) < (3,)


@contextmanager
def locked(connection: Any) -> Iterator[None]:
    """Only one scheduler migrates; the others wait, and then find that all is done."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def migrate() -> None:
    """Airflow's own migration; on an empty database it makes the schema."""
    import inspect

    from airflow.utils import db

    # It would parse all DAG files, which are not mounted here; the scheduler does it when it starts.
    wanted = {"reserialize_dags": False}
    known = inspect.signature(db.upgradedb).parameters
    db.upgradedb(**{name: value for name, value in wanted.items() if name in known})


def set_password(connection: Any, user: AdminUser) -> bool:
    """Sets an existing user's password if it is another; False when there is no such user."""
    from werkzeug.security import check_password_hash, generate_password_hash

    with connection.cursor() as cursor:
        cursor.execute("SELECT password FROM ab_user WHERE username = %s", (user.name,))
        row = cursor.fetchone()
        if row is None:
            return False
        if not check_password_hash(row[0], user.password):
            cursor.execute(
                "UPDATE ab_user SET password = %s, active = true WHERE username = %s",
                (generate_password_hash(user.password), user.name),
            )
            say(f"changed the password of {user.name}")
    return True


def make_users(user: AdminUser | None) -> None:
    """Roles and permissions, which the webserver then need not look for at each start, and the admin user."""
    from airflow.www.app import cached_app

    application = cached_app()
    if user is None:
        return
    with application.app_context():
        manager = application.appbuilder.sm
        if manager.find_user(username=user.name) is None:
            role = manager.find_role("Admin")
            if not manager.add_user(user.name, user.name, "admin", f"{user.name}@localhost", role, user.password):
                raise NotReady(f"Airflow did not make the user {user.name}")
            say(f"made the user {user.name}")


def prepare_postgres(url: str, release: str) -> None:
    """Brings a Postgres database to this release.

    Raises:
        NotReady: it does not answer.
        Refused: a later release made it.
    """
    connection = wait_for_connection(url)
    user = admin_user() if has_user_table(release) else None

    def is_prepared() -> bool:
        noted = noted_release(connection)
        if noted is not None and as_numbers(noted) > as_numbers(release):
            raise Refused(
                f"the metadata database was made by Airflow {noted}, and this image has {release}. Airflow cannot go "
                f"back without losing data: set airflow.version to {noted} again, or start with an empty database "
                "(devenv destroy)"
            )
        return noted == release and (user is None or set_password(connection, user))

    if is_prepared():
        return
    with locked(connection):
        if is_prepared():
            return
        say(f"migrating the metadata database from {noted_release(connection) or 'nothing'} to Airflow {release}")
        prepare_with_airflow(release, user)
        if user is not None:
            set_password(connection, user)
        note_release(connection, release)
    say(f"the metadata database is that of Airflow {release}")


def prepare_with_airflow(release: str, user: AdminUser | None) -> None:
    """The part that needs Airflow imported: schema, roles, admin user."""
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"  # a line for each of 300 permissions otherwise
    os.environ["AIRFLOW__WEBSERVER__UPDATE_FAB_PERMS"] = "True"  # to 2.8
    os.environ["AIRFLOW__FAB__UPDATE_FAB_PERMS"] = "True"  # from 2.9 on
    migrate()
    if has_user_table(release):
        make_users(user)


def main() -> None:
    """Prepares the database that Airflow's configuration names."""
    release = installed_release()
    url = connection_url()
    if is_postgres(url):
        prepare_postgres(url, release)
    else:
        prepare_with_airflow(release, admin_user() if has_user_table(release) else None)


if __name__ == "__main__":
    try:
        main()
    except (NotReady, Refused) as error:
        sys.exit(str(error))

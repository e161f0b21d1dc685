"""What YAML may say.

Lives here: every key and what it changes (keys), the Trainer's fields (trainer_keys), files with their bases and a
command's words (files), combinations that cannot work (rules, engine_rules), what --help prints (help), and all of
them as frozen values (settings).
Comes in: the words of a command. Goes out: `Settings`. Nothing of experiment/run, sweep or report is imported.
"""

"""python -m llm.report"""

from llm.report.command import main

if __name__ == "__main__":
    raise SystemExit(main())

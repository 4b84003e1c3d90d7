"""The pages of ``srl_agent.view``: what a run's folder holds, as HTML."""

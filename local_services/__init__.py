"""Real Ray and Airflow on this machine, started, watched and cleaned up. Not shipped."""

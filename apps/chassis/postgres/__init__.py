"""PostgreSQL: connections, prepared statements, migrations, and the tables that both services have."""

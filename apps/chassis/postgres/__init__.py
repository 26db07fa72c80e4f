"""PostgreSQL: connections, prepared statements, migrations, and the tables that every service has."""

#!/bin/sh
# Runs once, when the volume is empty: a user and a database for each of the three.
set -eu
for name in airflow mlflow offbeat; do
  psql --set ON_ERROR_STOP=1 --username postgres --set name="$name" --set password="$POSTGRES_PASSWORD" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
done

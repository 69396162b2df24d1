# Stands in for mongo, with the folder that mongodb.sh makes: FerretDB on PostgreSQL with DocumentDB.
FROM saga-shop/documentdb
COPY mongo-entrypoint.sh mongosh /usr/bin/
USER 27017:27017
VOLUME /data/db
CMD ["mongo-entrypoint.sh"]

# Run by dbd against the target, after a deployment. It only looks; if it fails, the deployment is taken back.
set -eu

free=$(psql -X -q -A -t -v ON_ERROR_STOP=1 "$DATABASE_URL" -c "SELECT count(*) FROM products WHERE price_cents <= 0")
[ "$free" = 0 ] || { echo "$free products are sold for nothing or less"; exit 1; }

echo "every product has its price"

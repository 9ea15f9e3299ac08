# Run by dbd in the sandbox: a migrated copy of the shop, where a test may write as it likes.
set -eu

ask() {
    psql -X -q -A -t -v ON_ERROR_STOP=1 "$DATABASE_URL" -c "$1"
}

id=$(ask "INSERT INTO orders (customer_id, product_id, quantity, ordered_at) VALUES (1, 1, 2, now()) RETURNING id")
who=$(ask "SELECT c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = $id")
[ "$who" = "Customer 1" ] || { echo "order $id belongs to '$who'"; exit 1; }

orders=$(ask "SELECT count(*) FROM orders")
[ "$orders" = 10001 ] || { echo "there are $orders orders, not 10001"; exit 1; }

echo "an order can be placed and found again"

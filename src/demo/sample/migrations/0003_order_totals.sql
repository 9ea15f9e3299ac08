ALTER TABLE orders ADD COLUMN total_cents bigint;
UPDATE orders SET total_cents = quantity * price_cents FROM products WHERE products.id = orders.product_id;
-- Three seconds more, as if the table were a thousand times as large.
SELECT pg_sleep(3);

CREATE INDEX CONCURRENTLY orders_ordered_at ON orders (ordered_at);

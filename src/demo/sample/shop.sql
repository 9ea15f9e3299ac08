-- The shop as it is before the first act. The numbers are made up, and the same each time.
BEGIN;

CREATE TABLE customers (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE
);

CREATE TABLE products (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    price_cents integer NOT NULL
);

CREATE TABLE orders (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    product_id integer NOT NULL REFERENCES products,
    quantity integer NOT NULL CHECK (quantity > 0),
    ordered_at timestamptz NOT NULL
);

CREATE TABLE old_newsletter (
    email text PRIMARY KEY,
    subscribed_on date NOT NULL
);

INSERT INTO customers (name, email)
SELECT 'Customer ' || n, 'customer' || n || '@example.com'
FROM generate_series(1, 2000) AS n;

INSERT INTO products (name, price_cents)
SELECT 'Product ' || n, 190 + 25 * n
FROM generate_series(1, 120) AS n;

INSERT INTO orders (customer_id, product_id, quantity, ordered_at)
SELECT 1 + (n * 7919) % 2000, 1 + (n * 104729) % 120, 1 + n % 4, timestamptz '2026-01-01 00:00:00+00' + n * interval '17 minutes'
FROM generate_series(1, 10000) AS n;

INSERT INTO old_newsletter (email, subscribed_on)
SELECT 'customer' || n || '@example.com', date '2019-01-01' + n
FROM generate_series(1, 300) AS n;

COMMIT;

ANALYZE;

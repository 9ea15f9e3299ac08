ALTER TABLE products ADD COLUMN on_sale boolean NOT NULL DEFAULT false;
UPDATE products SET price_cents = price_cents - 500, on_sale = true;

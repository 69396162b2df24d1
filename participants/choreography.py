"""The shop's choreography: the one file that names all participants together."""

from __future__ import annotations

from contracts.events.order import OrderCancelled
from contracts.events.shipping import ParcelDelivered
from participants.customer.steps import customer
from participants.inventory.steps import inventory
from participants.order import carts, projections
from participants.order.steps import order
from participants.payment.steps import payment
from participants.product.steps import product
from participants.shipping.steps import shipping
from sagas import Choreography

__all__ = ["shop"]

# Importing these declares the order service's documents beside the saga's.
assert carts.carts.participant is projections.catalogue.participant is order

shop = Choreography(
    "order-to-delivery",
    [order, payment, inventory, shipping, product, customer],
    completed_by=[ParcelDelivered],
    compensated_by=[OrderCancelled],
    owner="customer_id",
    operator="staff",
)

"""Carts: what a customer is about to order."""

from __future__ import annotations

from typing import ClassVar, Never

from pydantic import BaseModel, ConfigDict

from participants.editing import STALE, Versions, is_stale
from participants.order.steps import order
from sagas import Command, Decision, Refusal

__all__ = [
    "AbandonCheckout",
    "BeginCheckout",
    "Cart",
    "CartItem",
    "ClearCart",
    "FinishCheckout",
    "PutItem",
    "RemoveItem",
    "carts",
]

#: As many as an order may have lines.
MAX_ITEMS = 50


class CartItem(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    sku: str
    quantity: int


class Checkout(BaseModel):
    """The order that this content of the cart became, or is about to become."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    order_id: str
    items: tuple[CartItem, ...]
    finished: bool
    #: The cart was edited before the order was known to be placed.
    overtaken: bool = False


class Cart(BaseModel):
    """An edit makes a new ``version`` of the cart, and forgets a ``checkout`` that is finished."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    customer_id: str
    items: tuple[CartItem, ...] = ()
    checkout: Checkout | None = None
    #: Counts what altered the items; an untouched cart has 0.
    version: int = 0

    def edited(self, items: tuple[CartItem, ...], checkout: Checkout | None = None) -> Cart:
        """The next version: with these items."""
        pending = self.checkout
        if checkout is None and pending is not None and not pending.finished:
            # Whether that order was placed decides what still has to leave the cart.
            checkout = pending.model_copy(update={"overtaken": True})
        return Cart(
            customer_id=self.customer_id,
            items=items,
            checkout=checkout,
            version=self.version + 1,
        )


class PutItem(Command):
    """``expected`` are the versions that ``If-Match`` allows."""

    origin: ClassVar[str] = "PUT /api/carts/{customer_id}/items/{sku}"
    customer_id: str
    sku: str
    quantity: int
    expected: Versions = None


class RemoveItem(Command):
    origin: ClassVar[str] = "DELETE /api/carts/{customer_id}/items/{sku}"
    sku: str


class ClearCart(Command):
    origin: ClassVar[str] = "DELETE /api/carts/{customer_id}"


class BeginCheckout(Command):
    """Fix what is ordered and under which id, before the order is placed."""

    origin: ClassVar[str] = "POST /api/carts/{customer_id}/checkout"
    order_id: str


class FinishCheckout(Command):
    """The order is placed: what was ordered leaves the cart."""

    origin: ClassVar[str] = "POST /api/carts/{customer_id}/checkout"
    order_id: str


class AbandonCheckout(Command):
    """The order was refused: the cart is as it was."""

    origin: ClassVar[str] = "POST /api/carts/{customer_id}/checkout"
    order_id: str


carts = order.aggregate("carts", Cart, key=lambda command: str(command.customer_id))


@carts.command(PutItem)
def put_item(command: PutItem, cart: Cart | None) -> Decision[Cart, Never] | Refusal:
    cart = cart or Cart(customer_id=command.customer_id)
    if is_stale(command.expected, cart.version):
        return STALE
    items = {item.sku: item for item in cart.items}
    items[command.sku] = CartItem(sku=command.sku, quantity=command.quantity)
    if len(items) > MAX_ITEMS:
        return Refusal("cart_full", f"A cart holds at most {MAX_ITEMS} products.")
    return Decision(cart.edited(tuple(items.values())))


@carts.command(RemoveItem)
def remove_item(command: RemoveItem, cart: Cart | None) -> Decision[Cart, Never] | Refusal:
    if cart is None or all(item.sku != command.sku for item in cart.items):
        return Refusal("not_found", f"{command.sku} is not in this cart.")
    left = tuple(item for item in cart.items if item.sku != command.sku)
    return Decision(cart.edited(left))


@carts.command(ClearCart)
def clear_cart(command: ClearCart, cart: Cart | None) -> Decision[Cart | None, Never]:
    return Decision(None if cart is None else cart.edited(()))


@carts.command(BeginCheckout)
def begin_checkout(command: BeginCheckout, cart: Cart | None) -> Decision[Cart, Never] | Refusal:
    if cart is not None and cart.checkout is not None and not cart.checkout.overtaken:
        return Decision(cart, reply=cart.checkout)  # this content is being, or was, ordered
    if cart is None or not cart.items:
        return Refusal("cart_empty", "There is nothing in this cart.")
    checkout = Checkout(order_id=command.order_id, items=cart.items, finished=False)
    return Decision(cart.model_copy(update={"checkout": checkout}), reply=checkout)


@carts.command(FinishCheckout)
def finish_checkout(command: FinishCheckout, cart: Cart | None) -> Decision[Cart | None, Never]:
    if cart is None or cart.checkout is None or cart.checkout.order_id != command.order_id:
        return Decision(cart)
    ordered = cart.checkout
    # What was put in or changed meanwhile stays; what was ordered as it stands here leaves.
    left = tuple(item for item in cart.items if item not in ordered.items)
    done = None if left else ordered.model_copy(update={"finished": True, "overtaken": False})
    return Decision(cart.model_copy(update={"checkout": None}).edited(left, done))


@carts.command(AbandonCheckout)
def abandon_checkout(command: AbandonCheckout, cart: Cart | None) -> Decision[Cart | None, Never]:
    if cart is None or cart.checkout is None or cart.checkout.order_id != command.order_id:
        return Decision(cart)
    return Decision(cart.model_copy(update={"checkout": None}))

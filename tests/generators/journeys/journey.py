"""Place, read, list and refund with the Python clients that openapi-generator has written."""

import os
import uuid

import tandem_order
import tandem_payment


def main() -> None:
    """Do it on the services that the environment names. Raises AssertionError or ApiException if something is wrong."""
    order_id = order(tandem_order.Configuration(host=os.environ["ORDER_URL"], access_token=os.environ["API_KEY"]))
    payment(tandem_payment.Configuration(host=os.environ["PAYMENT_URL"], access_token=os.environ["API_KEY"]), order_id)


def order(configuration: tandem_order.Configuration) -> uuid.UUID:
    """Place an order, find it, refund a part of it; return its id."""
    with tandem_order.ApiClient(configuration) as client:
        api = tandem_order.OrdersApi(client)
        item = tandem_order.Item(sku="tea-100", name="Green tea", quantity=2, unit_amount=450)
        body = tandem_order.PlaceOrder(
            currency=tandem_order.Currency.EUR, items=[item], payment_method="pm_ok", metadata={"cart": "9"}
        )
        key = str(uuid.uuid4())
        placed = api.place_order(key, body, prefer="wait=10")
        assert placed.status == "paid", placed
        assert placed.total_amount == 900
        assert api.place_order(key, body).id == placed.id
        assert api.get_order(placed.id).metadata == {"cart": "9"}
        assert placed.id in [each.id for each in api.list_orders(status=["paid", "canceled"], sort="-created_at").data]

        refund = api.create_refund(
            str(uuid.uuid4()), placed.id, prefer="wait=10", create_refund=tandem_order.CreateRefund(amount=400)
        )
        assert refund.status == "succeeded", refund
        assert api.get_refund(placed.id, refund.id).amount == 400
        assert [each.id for each in api.list_refunds(placed.id).data] == [refund.id]
        assert api.get_order(placed.id).refunded_amount == 400
        try:
            api.get_order(uuid.uuid4())
        except tandem_order.ApiException as error:
            problem = tandem_order.Problem.from_json(error.body or "")
            assert problem is not None
            assert problem.type.endswith("/problems/order-not-found"), problem
        else:
            raise AssertionError("an unknown order was found")
        return placed.id


def payment(configuration: tandem_payment.Configuration, order_id: uuid.UUID) -> None:
    """Find the payment of the order; make, capture, list and refund another one."""
    with tandem_payment.ApiClient(configuration) as client:
        api = tandem_payment.PaymentsApi(client)
        (found,) = api.list_payments(order_id=order_id).data
        assert found.refunded_amount == 400, found

        body = tandem_payment.CreatePayment(
            order_id=uuid.uuid4(),
            amount=700,
            currency=tandem_payment.Currency.EUR,
            payment_method="pm_ok",
            capture="manual",
        )
        made = api.create_payment(str(uuid.uuid4()), body)
        while made.status in ("pending", "new"):
            made = api.get_payment(made.id)
        assert made.status == "authorized", made
        api.capture_payment(str(uuid.uuid4()), made.id)
        while (made := api.get_payment(made.id)).status == "authorized":
            pass
        assert made.captured_amount == 700, made
        body_of_refund = tandem_payment.CreateRefund(amount=700)
        refund = api.create_refund(str(uuid.uuid4()), made.id, create_refund=body_of_refund)
        assert [each.id for each in api.list_refunds(made.id).data] == [refund.id]


if __name__ == "__main__":
    main()

// Place, read, list and refund with the Go client that oapi-codegen has written.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/google/uuid"

	"tandem/generated/oapi/order"
	"tandem/generated/oapi/payment"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func assert(holds bool, status string, body []byte) {
	if !holds {
		log.Fatalf("unexpected answer: %s\n%s", status, body)
	}
}

func main() {
	ctx := context.Background()
	authorize := func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+os.Getenv("API_KEY"))
		return nil
	}
	api, err := order.NewClientWithResponses(os.Getenv("ORDER_URL"), order.WithRequestEditorFn(authorize))
	check(err)
	wait, name := "wait=10", "Green tea"
	body := order.PlaceOrder{
		Currency:      order.EUR,
		Items:         []order.Item{{Sku: "tea-100", Name: &name, Quantity: 2, UnitAmount: 450}},
		PaymentMethod: "pm_ok",
	}
	params := order.PlaceOrderParams{IdempotencyKey: uuid.NewString(), Prefer: &wait}
	placed, err := api.PlaceOrderWithResponse(ctx, &params, body)
	check(err)
	assert(placed.JSON201 != nil && placed.JSON201.Status == "paid", placed.Status(), placed.Body)
	id := placed.JSON201.Id

	read, err := api.GetOrderWithResponse(ctx, id, &order.GetOrderParams{})
	check(err)
	assert(read.JSON200 != nil && read.JSON200.TotalAmount == 900, read.Status(), read.Body)

	statuses := []order.ListOrdersParamsStatus{"paid", "refunded"}
	listed, err := api.ListOrdersWithResponse(ctx, &order.ListOrdersParams{Status: &statuses})
	check(err)
	assert(listed.JSON200 != nil && listed.JSON200.Data[0].Id == id, listed.Status(), listed.Body)

	amount := int64(400)
	key := order.CreateRefundParams{IdempotencyKey: uuid.NewString(), Prefer: &wait}
	refund, err := api.CreateRefundWithResponse(ctx, id, &key, order.CreateRefund{Amount: &amount})
	check(err)
	assert(refund.JSON201 != nil && refund.JSON201.Status == "succeeded", refund.Status(), refund.Body)

	refunds, err := api.ListRefundsWithResponse(ctx, id, &order.ListRefundsParams{})
	check(err)
	assert(refunds.JSON200 != nil && len(refunds.JSON200.Data) == 1, refunds.Status(), refunds.Body)

	missing, err := api.GetOrderWithResponse(ctx, uuid.New(), &order.GetOrderParams{})
	check(err)
	problem := missing.ApplicationproblemJSON404
	assert(problem != nil && problem.Status == 404, missing.Status(), missing.Body)

	payments, err := payment.NewClientWithResponses(os.Getenv("PAYMENT_URL"), payment.WithRequestEditorFn(authorize))
	check(err)
	paid, err := payments.ListPaymentsWithResponse(ctx, &payment.ListPaymentsParams{OrderId: &id})
	check(err)
	assert(paid.JSON200 != nil && paid.JSON200.Data[0].RefundedAmount == 400, paid.Status(), paid.Body)
}

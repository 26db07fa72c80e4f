{{- define "order.facts" -}}
{{- $_ := required "credentials.existingSecret must name the Secret that the payment chart made" .Values.credentials.existingSecret -}}
{{- $webhooks := .Values.webhooks -}}
port: 8080
peer: {name: payment, port: 8081, namespace: {{ .Values.payment.namespace | quote }}}
env:
  PAYMENT_URL: {{ tpl (required "payment.url must say where the payment service is" .Values.payment.url) . | quote }}
  WEBHOOK_ALLOWED_NETWORKS: {{ join "," $webhooks.allowedNetworks | quote }}
secrets:
  API_KEYS: api-keys
  PAYMENT_API_KEY: payment-api-key
  EVENTS_SECRETS: events-secrets
egress:
  {{- with $webhooks.allowedNetworks }}
  - {cidrs: {{ toJson . }}, ports: {{ toJson $webhooks.egress.ports }}}
  {{- end }}
  {{- if $webhooks.egress.enabled }}
  - {cidrs: {{ toJson $webhooks.egress.cidrs }}, ports: {{ toJson $webhooks.egress.ports }}}
  {{- end }}
{{- end }}

{{- /* order.notes: how to place an order, in commands to paste */ -}}
{{- define "order.notes" -}}
Wait until it is ready, then place an order and see it paid:

  kubectl -n {{ .Release.Namespace }} rollout status deployment -l app.kubernetes.io/instance={{ .Release.Name }}
  kubectl -n {{ .Release.Namespace }} port-forward service/{{ include "chassis.fullname" . }} 8080 >/dev/null &
  API_KEY=$(kubectl -n {{ .Release.Namespace }} get secret {{ include "chassis.credentialsSecret" . }} -o jsonpath='{.data.api-key}' | base64 -d)
  curl --silent --write-out '\nHTTP %{http_code}\n' --retry 9 --retry-connrefused http://localhost:8080/v1/orders \
    -H "Authorization: Bearer $API_KEY" -H "Idempotency-Key: $(date +%s)" -H 'Prefer: wait=5' \
    -H 'Content-Type: application/json' \
    -d '{"currency": "EUR", "payment_method": "pm_ok", "items": [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}]}'
  kill %%

The same from inside the cluster:

  helm -n {{ .Release.Namespace }} test {{ .Release.Name }} --logs
{{ include "chassis.notes" . }}
{{- end }}

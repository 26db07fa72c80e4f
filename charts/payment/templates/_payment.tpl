{{- /* payment.facts: see chassis.facts */ -}}
{{- define "payment.facts" -}}
{{- $egress := .Values.provider.egress -}}
{{- $secrets := .Values.secretEnv | default dict -}}
{{- $given := dict -}}
{{- range .Values.extraEnv }}{{ $given = set $given .name (.value | default "") }}{{ end -}}
{{- $stripe := eq (get $given "PROVIDER" | default (.Values.env | default dict).PROVIDER | default "simulator") "stripe" -}}
{{- $errors := list -}}
{{- if and $stripe (not (or (hasKey $secrets "STRIPE_API_KEY") (hasKey $given "STRIPE_API_KEY") .Values.extraEnvFrom)) -}}
{{- $errors = append $errors "secretEnv.STRIPE_API_KEY: must be set, because env.PROVIDER is stripe" -}}
{{- end -}}
{{- if and $stripe (not (or (hasKey $secrets "STRIPE_WEBHOOK_SECRETS") (hasKey $given "STRIPE_WEBHOOK_SECRETS") .Values.extraEnvFrom)) -}}
{{- $errors = append $errors "secretEnv.STRIPE_WEBHOOK_SECRETS: must be set, because env.PROVIDER is stripe" -}}
{{- end -}}
{{- if and $stripe .Values.networkPolicy.enabled (not (or $egress.enabled .Values.networkPolicy.egress .Values.proxy.url)) -}}
{{- $errors = append $errors "provider.egress.enabled: must be true, because env.PROVIDER is stripe and the network policy blocks its API" -}}
{{- end -}}
{{- if and (not $stripe) (hasKey $secrets "STRIPE_API_KEY") (not .Values.extraEnvFrom) -}}
{{- $errors = append $errors "secretEnv.STRIPE_API_KEY: has no effect while env.PROVIDER is not stripe" -}}
{{- end -}}
{{- if and $egress.cidrs (not $egress.enabled) -}}
{{- $errors = append $errors "provider.egress.cidrs: has no effect while provider.egress.enabled is false; set it to true or remove this value" -}}
{{- end -}}
port: 8081
connections: {perThread: {{ ternary 1 2 $stripe }}, others: {{ ternary 31 47 $stripe }}}
errors: {{ toJson $errors }}
peer: {name: order, port: 8080, namespace: {{ .Values.order.namespace | quote }}}
env:
  ORDER_URL: {{ tpl (required "order.url: must be the URL of the order service" .Values.order.url) . | quote }}
secrets:
  API_KEYS: api-keys
  EVENTS_SECRETS: events-secrets
egress:
  {{- if $egress.enabled }}
  - {cidrs: {{ toJson $egress.cidrs }}, ports: {{ toJson $egress.ports }}}
  {{- end }}
{{- end }}

{{- /*
payment.gettingStarted: the part of NOTES.txt that shows how to query payments, and the values that an order chart needs
to use this payment service
*/ -}}
{{- define "payment.gettingStarted" -}}
Wait until the pods are ready, then list the payments of an order. The list is empty, since there is no such order:

{{ include "chassis.notes.access" . }}
  curl --silent --write-out '\nHTTP %{http_code}\n' --retry 9 --retry-connrefused -H "Authorization: Bearer $API_KEY" \
    'http://localhost:8081/v1/payments?order_id=01890a5d-ac96-774b-bcce-b302099a8057'
  kill %%

To use this payment service, an order chart needs these values: `payment.url` is
http://{{ include "chassis.fullname" . }}.{{ .Release.Namespace }}:8081, `payment.namespace` is {{ .Release.Namespace }}, and `credentials.existingSecret` is
{{ include "chassis.credentialsSecretName" . }}. In another namespace, the order chart needs a copy of that Secret.
{{ end }}

{{- /* payment.notes: NOTES.txt of the payment chart when it is installed by itself */ -}}
{{- define "payment.notes" -}}
{{ include "chassis.notes" (list .) }}
{{- end }}

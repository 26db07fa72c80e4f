{{- define "payment.facts" -}}
{{- $egress := .Values.provider.egress -}}
port: 8081
peer: {name: order, port: 8080, namespace: {{ .Values.order.namespace | quote }}}
env:
  ORDER_URL: {{ tpl (required "order.url must say where the order service is" .Values.order.url) . | quote }}
secrets:
  API_KEYS: api-keys
  EVENTS_SECRETS: events-secrets
egress:
  {{- if $egress.enabled }}
  - {cidrs: {{ toJson $egress.cidrs }}, ports: {{ toJson $egress.ports }}}
  {{- end }}
{{- end }}

{{- define "payment.notes" -}}
Wait until it is ready, then ask for a payment that does not exist (yet):

  kubectl -n {{ .Release.Namespace }} rollout status deployment -l app.kubernetes.io/instance={{ .Release.Name }}
  kubectl -n {{ .Release.Namespace }} port-forward service/{{ include "chassis.fullname" . }} 8081 >/dev/null &
  API_KEY=$(kubectl -n {{ .Release.Namespace }} get secret {{ include "chassis.credentialsSecret" . }} -o jsonpath='{.data.api-key}' | base64 -d)
  curl --silent --write-out '\nHTTP %{http_code}\n' --retry 9 --retry-connrefused -H "Authorization: Bearer $API_KEY" \
    'http://localhost:8081/v1/payments?order_id=01890a5d-ac96-774b-bcce-b302099a8057'
  kill %%

An order service in this namespace works with it when its chart is installed with

  --set payment.url=http://{{ include "chassis.fullname" . }}:8081 --set credentials.existingSecret={{ include "chassis.credentialsSecret" . }}
{{ include "chassis.notes" . }}
{{- end }}

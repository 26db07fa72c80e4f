{{- define "chassis.service" -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
{{- $inside := eq .Values.service.type "ClusterIP" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
  {{- with .Values.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .Values.service.type }}
  selector:
    {{- include "chassis.selector" (list . "server") | nindent 4 }}
  ports:
    - name: http
      port: {{ $facts.port }}
      targetPort: http
      appProtocol: http
      {{- if and .Values.service.nodePort (not $inside) }}
      nodePort: {{ .Values.service.nodePort }}
      {{- end }}
    {{- if $inside }} {{- /* metrics are nobody's business outside the cluster */}}
    - {name: admin, port: 9090, targetPort: admin, appProtocol: http}
    {{- end }}
{{- end }}

{{- define "chassis.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.serviceAccountName" .)) | nindent 2 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{- define "chassis.ingress" -}}
{{- if .Values.ingress.enabled -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
  {{- with .Values.ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .Values.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with .Values.ingress.tls }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range .Values.ingress.hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          - path: {{ $.Values.ingress.path }}
            pathType: Prefix
            backend:
              service:
                name: {{ include "chassis.fullname" $ }}
                port: {name: http}
    {{- end }}
{{- end }}
{{- end }}

{{- define "chassis.httpRoute" -}}
{{- if .Values.httpRoute.enabled -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
  {{- with .Values.httpRoute.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  parentRefs:
    {{- toYaml .Values.httpRoute.parentRefs | nindent 4 }}
  {{- with .Values.httpRoute.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path: {type: PathPrefix, value: {{ .Values.httpRoute.path | quote }}}
      {{- with .Values.httpRoute.timeout }}
      timeouts:
        request: {{ . }}
      {{- end }}
      backendRefs:
        - name: {{ include "chassis.fullname" . }}
          port: {{ $facts.port }}
{{- end }}
{{- end }}

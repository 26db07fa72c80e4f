{{- define "chassis.deployment" -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
spec:
  replicas: {{ .Values.replicaCount }}
  revisionHistoryLimit: 3
  strategy:
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "server") | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "chassis.podLabels" (list . "server") | nindent 8 }}
      annotations:
        kubectl.kubernetes.io/default-container: web
        prometheus.io/scrape: "true"
        prometheus.io/port: "9090"
        prometheus.io/path: /metrics
        {{- if not .Values.postgresql.enabled }}
        checksum/database: {{ toJson .Values.database | sha256sum }}
        {{- end }}
        {{- with .Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "chassis.fullname" . }}
      {{- include "chassis.pod" . | nindent 6 }}
      # The pause before SIGTERM (5 s), the requests under way (25 s), and some more.
      terminationGracePeriodSeconds: 45
      containers:
        - {{- include "chassis.container" (list . "web" nil .Values.web.resources) | nindent 10 }}
          ports:
            - name: http
              containerPort: {{ $facts.port }}
            - name: admin
              containerPort: 9090
          env:
            {{- include "chassis.env" . | nindent 12 }}
            - name: PORT
              value: {{ $facts.port | quote }}
            - name: ADMIN_PORT
              value: "9090"
            - name: WEB_WORKERS
              value: {{ .Values.web.workers | quote }}
            - name: WEB_THREADS
              value: {{ .Values.web.threads | quote }}
          startupProbe:
            httpGet: {path: /livez, port: admin}
            periodSeconds: 1
            failureThreshold: 90
          livenessProbe:
            httpGet: {path: /livez, port: admin}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            periodSeconds: 2
            timeoutSeconds: 2
          lifecycle:
            preStop: # until every node has taken the pod out of the Service
              sleep: {seconds: 5}
          volumeMounts: &mounts
            - {name: secrets, mountPath: /etc/tandem, readOnly: true}
            - {name: metrics, mountPath: /run/metrics}
            - {name: tmp, mountPath: /tmp}
        - {{- include "chassis.container" (list . "relay" (list "flask" "--app" .Chart.Name "relay") .Values.relay.resources) | nindent 10 }}
          ports:
            - name: relay-admin
              containerPort: 9091
          env:
            {{- include "chassis.env" . | nindent 12 }}
            - name: RELAY_ADMIN_PORT
              value: "9091"
          startupProbe:
            httpGet: {path: /livez, port: relay-admin}
            periodSeconds: 1
            failureThreshold: 90
          livenessProbe: # and no readiness probe: a slow relay is no reason to take no more orders
            httpGet: {path: /livez, port: relay-admin}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          volumeMounts: *mounts
      volumes:
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              - {{- include "chassis.databaseSource" (list . (include "chassis.databaseSecret" .)) | nindent 16 }}
              - secret:
                  name: {{ include "chassis.credentialsSecret" . }}
                  items:
                    {{- range $facts.secrets }}
                    - {key: {{ . }}, path: {{ . }}}
                    {{- end }}
              {{- range $name, $source := .Values.secretEnv }}
              - secret:
                  name: {{ tpl $source.secret $ }}
                  items:
                    - {key: {{ $source.key }}, path: {{ $name }}}
              {{- end }}
        - name: metrics # what the processes of this pod count, for /metrics to add up
          emptyDir: {medium: Memory, sizeLimit: 64Mi}
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
{{- end }}

{{- define "chassis.service" -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
spec:
  selector:
    {{- include "chassis.selector" (list . "server") | nindent 4 }}
  ports:
    - {name: http, port: {{ $facts.port }}, targetPort: http, appProtocol: http}
    - {name: admin, port: 9090, targetPort: admin, appProtocol: http}
{{- end }}

{{- define "chassis.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{- define "chassis.podDisruptionBudget" -}}
{{- if gt (int .Values.replicaCount) 1 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "server") | nindent 6 }}
{{- end }}
{{- end }}
